"""Vim's published checkpoints: fetching, converting and verifying them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from memba_vision.download import download
from memba_vision.errors import UserError
from memba_vision.files import check_record, write_atomically, write_record
from memba_vision.models import Vim
from memba_vision.models.backbones.vim_weights import ANCHORS, check_variant, read_vim
from memba_vision.weights import (
    BESIDE_THE_BACKBONE,
    HEADS,
    StoredWeights,
    check_finite,
    check_fit,
    read_weights,
    under_names,
)
from memba_vision.zoo.official import PATCH_SIZE, Official


def default_folder() -> Path:
    """Torch's hub folder, where the configs look for what they name by a web address."""
    return Path(torch.hub.get_dir(), 'checkpoints')


def fetch(official: Official, folder: Path, url: str | None = None) -> tuple[Path, bool]:
    """Download a checkpoint unless it is there, verify it, and note or compare its hash.

    Args:
        official: which.
        folder: where to.
        url: another address of the same file.

    Returns:
        Where it is, and whether it was compared with what an earlier call noted.

    Raises:
        UserError: the download failed, a key does not fit, or the file is not the one of the
            earlier call.
    """
    path = folder / Path(official.url).name  # where training looks, whatever a mirror calls it
    url = url or official.url
    download(url, path)
    compared = check_record(path)
    try:
        verify(str(path), official.arch, official.stride)
    except UserError as error:
        raise UserError(f'{error}; remove {path} to fetch it again') from error
    if not compared:
        write_record(path, url=url)
    return path, compared


def convert(
    source: str,
    out: Path,
    prefix: str | None = None,
    key: str | None = None,
    any_variant: bool = False,
) -> Mapping[str, torch.Tensor]:
    """Write the weights of a checkpoint, and nothing else of it, as safetensors.

    Args:
        source: see :func:`memba_vision.weights.resolve`.
        out: the file.
        prefix: see :func:`memba_vision.weights.read_weights`.
        key: see there.
        any_variant: convert variants of Vim, too, that this package would take for its own.

    Raises:
        UserError: ``source`` cannot be read, holds no weights or is of another variant, or ``out``
            has another ending.
    """
    if out.suffix != '.safetensors':
        raise UserError(f'{out}: the name must end in .safetensors')
    stored = read_weights(source, prefix, key)
    if not any_variant:
        check_variant(stored)
    weights = under_names(stored.tensors, ANCHORS, source)
    write_atomically(out, save({name: t.clone().contiguous() for name, t in weights.items()}))
    write_record(out, source=source)
    return weights


def verify(
    source: str,
    arch: str,
    stride: int = 16,
    img_size: int = 224,
    prefix: str | None = None,
    key: str | None = None,
) -> int:
    """Compare the shape of every key with those of :class:`Vim`, and look for NaN.

    Args:
        source: see :func:`memba_vision.weights.resolve`.
        arch: of :class:`Vim`.
        stride: of its patches, in pixels.
        img_size: height and width of the images that it was trained on, in pixels.
        prefix: see :func:`memba_vision.weights.read_weights`.
        key: see there.

    Returns:
        The number of values, the head aside.

    Raises:
        UserError: a key is missing, left over, misshapen or not finite, or the file is of another
            variant of Vim.
    """
    stored = read_vim(source, prefix, key)
    with torch.device('meta'):
        model = Vim(arch, img_size=img_size, stride=stride)
    _check_positions(stored, model)
    check_fit(model, stored.tensors, source, ignore_prefixes=BESIDE_THE_BACKBONE)
    check_finite({n: t for n, t in stored.tensors.items() if n.startswith(HEADS)}, source)
    return sum(t.numel() for n, t in stored.tensors.items() if not n.startswith(HEADS))


def _check_positions(stored: StoredWeights, model: Vim) -> None:
    positions = stored.tensors.get('pos_embed')
    if positions is None or positions.ndim != 3 or positions.shape[1] == model.num_patches + 1:
        return
    patches = positions.shape[1] - 1
    sizes = [
        f'{PATCH_SIZE + (side - 1) * stride} with a stride of {stride}'
        for stride in (16, 8)
        for side in [round(patches**0.5)]
        if side**2 == patches
    ]
    raise UserError(
        f'{stored.source} does not fit Vim: pos_embed has {patches} patches, expected '
        f'{model.num_patches}; an image of {" or ".join(sizes) or "no size"} has so many: choose '
        'the --name with that stride, and --img-size'
    )
