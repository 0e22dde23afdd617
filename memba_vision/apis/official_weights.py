"""Vim's published checkpoints: fetching, converting and verifying them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save

from memba_vision.download import download
from memba_vision.errors import UserError
from memba_vision.files import check_record, write_atomically, write_record
from memba_vision.models import Vim
from memba_vision.weights import load_strictly, read_state_dict

HEAD = 'head.'


@dataclass(frozen=True)
class Official:
    """A checkpoint of the authors of Vim, for images of 224 pixels.

    Args:
        repository: on Hugging Face, below ``hustvl/``.
        file: the file's name there.
        arch: of :class:`Vim`.
        stride: of its patches; 8 for those that the authors mark with a plus.
    """

    repository: str
    file: str
    arch: str
    stride: int = 16

    @property
    def url(self) -> str:
        """Where the file is."""
        return f'https://huggingface.co/hustvl/{self.repository}/resolve/main/{self.file}'


OFFICIAL = {
    'tiny': Official('Vim-tiny-midclstok', 'vim_t_midclstok_76p1acc.pth', 'tiny'),
    'tiny+': Official('Vim-tiny-midclstok', 'vim_t_midclstok_ft_78p3acc.pth', 'tiny', 8),
    'small': Official('Vim-small-midclstok', 'vim_s_midclstok_80p5acc.pth', 'small'),
    'small+': Official('Vim-small-midclstok', 'vim_s_midclstok_ft_81p6acc.pth', 'small', 8),
    'base': Official('Vim-base-midclstok', 'vim_b_midclstok_81p9acc.pth', 'base'),
}


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


def convert(source: str, out: Path) -> Mapping[str, torch.Tensor]:
    """Write the weights of a torch checkpoint, and nothing else of it, as safetensors.

    Raises:
        UserError: ``source`` cannot be read or holds no weights, or ``out`` has another ending.
    """
    if out.suffix != '.safetensors':
        raise UserError(f'{out}: the name must end in .safetensors')
    weights = read_state_dict(source)
    if not weights:
        raise UserError(f'{source} holds no tensors')
    write_atomically(out, save({name: t.clone().contiguous() for name, t in weights.items()}))
    write_record(out, source=source)
    return weights


def verify(source: str, arch: str, stride: int = 16, img_size: int = 224) -> int:
    """Compare the shape of every key with those of :class:`Vim`, and look for NaN.

    Returns:
        The number of values, the head aside.

    Raises:
        UserError: a key is missing, left over, misshapen or not finite; all of them are named.
    """
    weights = read_state_dict(source)
    with torch.device('meta'):
        model = Vim(arch, img_size=img_size, stride=stride)
    load_strictly(model, _as_meta(weights), source, ignore_prefixes=(HEAD,))
    wrong = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if wrong:
        raise UserError(f'{source}: not finite: {", ".join(wrong)}: get the file again')
    return sum(t.numel() for name, t in weights.items() if not name.startswith(HEAD))


def _as_meta(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to('meta') for name, tensor in weights.items()}
