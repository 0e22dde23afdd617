"""The published checkpoints: fetching, converting, verifying and recognising them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from mmengine.registry import init_default_scope
from safetensors.torch import save
from torch import nn

from memba_vision.download import download
from memba_vision.errors import UserError
from memba_vision.files import verify_checksum, write_atomically, write_checksum
from memba_vision.models.backbones.weight_files import WeightFiles
from memba_vision.registry import MODELS
from memba_vision.weights import (
    BESIDE_THE_BACKBONE,
    StoredWeights,
    check_finite,
    check_fit,
    read_weights,
)
from memba_vision.zoo.families import family_title
from memba_vision.zoo.official import OFFICIAL, PATCH_SIZE, Official

POSITIONS = 'pos_embed'  # of the size of the images
_known_sizes: dict[str, tuple[dict[str, int], int | None]] = {}  # building takes a moment


def default_folder() -> Path:
    """Return torch's hub folder, where the configs look for what they name by a web address."""
    return Path(torch.hub.get_dir(), 'checkpoints')


def fetch(official: Official, folder: Path, url: str | None = None) -> tuple[Path, bool]:
    """Download a checkpoint unless it is there, verify it, and record or compare its hash.

    Args:
        official: the checkpoint.
        folder: the folder to write to.
        url: another address of the same file.

    Returns:
        Where it is, and whether it was compared with what an earlier call noted.

    Raises:
        UserError: the download failed, a key does not fit, or the file is not the one of the
            earlier call.
    """
    path = folder / official.file  # where training looks, whatever a mirror calls it
    url = url or official.url
    download(url, path)
    compared = verify_checksum(path)
    try:
        verify(str(path), official, key=official.key)
    except UserError as error:
        raise UserError(f'{error}; remove {path} to fetch it again') from error
    if not compared:
        write_checksum(path, url=url)
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
    files = files_for(stored)
    if not any_variant:
        files.check(stored)
    weights = files.todays_names(stored.tensors, source)
    write_atomically(out, save({name: t.clone().contiguous() for name, t in weights.items()}))
    write_checksum(out, source=source)
    return weights


def verify(
    source: str,
    official: Official,
    img_size: int | None = None,
    prefix: str | None = None,
    key: str | None = None,
) -> int:
    """Compare the shape of every key with those of a published checkpoint, and look for NaN.

    Args:
        source: see :func:`memba_vision.weights.resolve`.
        official: the published checkpoint.
        img_size: height and width of the images that it was trained on, in pixels; None stands for
            those of the published one.
        prefix: see :func:`memba_vision.weights.read_weights`.
        key: see there.

    Returns:
        The number of values, the head aside.

    Raises:
        UserError: a key is missing, left over, misshapen or not finite, or the file is of another
            variant; of a file of another published arch its name is told.
    """
    model = build_official(official, img_size)
    stored = model.files.read(source, prefix, key)
    try:
        _check_positions(stored, model)
        tensors = model.files.fit(model, stored.tensors, source)
        check_fit(model, tensors, source, ignore_prefixes=BESIDE_THE_BACKBONE)
    except UserError as error:
        found = recognise(read_weights(source, prefix, key))
        if not found or official in (OFFICIAL[name] for name in found):
            raise
        raise UserError(
            f'{source} holds the weights of {found[0]}, not those of {_spelled(official)}: give '
            f'--name {found[0]}, or get the other file'
        ) from error
    heads = {n: t for n, t in tensors.items() if n not in model.state_dict()}
    check_finite(heads, source)
    return sum(t.numel() for n, t in tensors.items() if n not in heads)


def build_official(official: Official, img_size: int | None = None) -> nn.Module:
    """Build the backbone of a published checkpoint on the meta device: shapes, but no memory."""
    init_default_scope('mmpretrain')
    size = img_size or official.img_size
    settings = dict(type=official.family, arch=official.arch, img_size=size, **official.settings)
    with torch.device('meta'):
        return MODELS.build(settings)


def recognise(stored: StoredWeights) -> list[str]:
    """Return the names of the published checkpoints whose keys and sizes weights have.

    The head does not count. A position embedding may be of other images; the checkpoints where it
    is not come first.
    """
    found = []
    for files, names in _names_by_files():
        named = files.todays_names(stored.tensors, stored.source)
        if not any(anchor in named for anchor in files.anchors):
            continue
        sizes = {n: t.numel() for n, t in named.items() if not files.is_beside(n)}
        positions = sizes.pop(POSITIONS, None)
        for name in names:
            own, own_positions = _sizes(OFFICIAL[name])
            if own == sizes and (own_positions is None) == (positions is None):
                found.append((own_positions != positions, name))
    return [name for _, name in sorted(found, key=lambda pair: pair[0])]


def name_of(source: str, prefix: str | None = None, key: str | None = None) -> str:
    """Return the name of the published checkpoint that a file is; see :func:`recognise`.

    Raises:
        UserError: it is none.
    """
    found = recognise(read_weights(source, prefix, key))
    if not found:
        raise UserError(
            f'{source} is of no published arch, going by its keys and sizes: give --name to hear '
            'where it differs from one'
        )
    return found[0]


def files_for(stored: StoredWeights) -> WeightFiles:
    """Return what reads the files of the family that weights are of, by the names in them."""
    most, chosen = (0.0, 0), WeightFiles()
    for files, _ in _names_by_files():
        named = files.todays_names(stored.tensors, stored.source)
        wanted = (*files.anchors, *files.kept)
        number = sum(name in named for name in wanted)
        if (number / len(wanted), number) > most:
            most, chosen = (number / len(wanted), number), files
    return chosen


def _names_by_files() -> Iterable[tuple[WeightFiles, list[str]]]:
    families = dict.fromkeys(official.family for official in OFFICIAL.values())
    for family in families:
        names = [name for name, official in OFFICIAL.items() if official.family == family]
        yield MODELS.get(family).files, names


def _sizes(official: Official) -> tuple[dict[str, int], int | None]:
    """Return the numbers of values by name, and that of the position embedding apart."""
    key = repr(official)
    if key not in _known_sizes:
        tensors = build_official(official).state_dict()
        sizes = {name: tensor.numel() for name, tensor in tensors.items()}
        _known_sizes[key] = sizes, sizes.pop(POSITIONS, None)
    return _known_sizes[key]


def _spelled(official: Official) -> str:
    names = (name for name, known in OFFICIAL.items() if known == official)
    return next(names, f'{family_title(official.family)} {official.arch}')


def _check_positions(stored: StoredWeights, model: nn.Module) -> None:
    positions = stored.tensors.get(POSITIONS)
    own = getattr(model, POSITIONS, None)
    if own is None or positions is None or positions.ndim != 3:
        return
    if positions.shape[1] == own.shape[1]:
        return
    patches = positions.shape[1] - (own.shape[1] - model.num_patches)
    sizes = [
        f'{PATCH_SIZE + (side - 1) * stride} with a stride of {stride}'
        for stride in (16, 8)
        for side in [round(patches**0.5)]
        if side**2 == patches
    ]
    raise UserError(
        f'{stored.source} does not fit {type(model).__name__}: pos_embed has {patches} patches, '
        f'expected {model.num_patches}; an image of {" or ".join(sizes) or "no size"} has so many: '
        'choose the --name with that stride, and --img-size'
    )
