"""The published checkpoints of all families: one table for configs, tools and timm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

from memba_vision.errors import UserError

PATCH_SIZE = 16  # of all published checkpoints of Vim and Mamba-R


@dataclass(frozen=True)
class Official:
    """A checkpoint that the authors of a family published.

    :func:`memba_vision.weights.licence_of` has the licence by the address.

    Attributes:
        family: the class of the backbone.
        arch: its ``arch``.
        url: the address of the file.
        top1: accuracy on ImageNet-1k that they report, in percent.
        key: the entry of the file with the weights.
        settings: others of the backbone.
        img_size: height and width of the images of the training, in pixels.
    """

    family: str
    arch: str
    url: str
    top1: float
    key: str = 'model'
    settings: Mapping[str, Any] = field(default_factory=dict)
    img_size: int = 224

    @property
    def file(self) -> str:
        """The name of the file."""
        return PurePosixPath(unquote(urlparse(self.url).path)).name


def _vim(arch: str, file: str, top1: float, **settings: Any) -> Official:
    url = f'https://huggingface.co/hustvl/Vim-{arch}-midclstok/resolve/main/{file}'
    return Official('Vim', arch, url, top1, settings=settings)


def _vmamba(arch: str, release: str, file: str, top1: float) -> Official:
    # The tags of the releases begin with a '#', which an address has to escape.
    url = f'https://github.com/MzeroMiko/VMamba/releases/download/%23{release}/{file}'
    return Official('VMamba', arch, url, top1)


def _mamba_reg(arch: str, top1: float) -> Official:
    folder = 'https://huggingface.co/Wangf3014/Mamba-Reg/resolve/main'
    return Official('MambaReg', arch, f'{folder}/mambar_{arch}_patch16_224.pth', top1)


def _mamba_vision(arch: str, repository: str, top1: float) -> Official:
    folder = f'https://huggingface.co/nvidia/MambaVision-{repository}-1K/resolve/main'
    url = f'{folder}/mambavision_{arch}_1k.pth.tar'
    return Official('MambaVision', arch, url, top1, key='state_dict')


#: By the names of the models, as :func:`memba_vision.list_models` has them. A plus stands for the
#: files of Vim whose patches overlap.
OFFICIAL = {
    'vim_tiny': _vim('tiny', 'vim_t_midclstok_76p1acc.pth', 76.1),
    'vim_tiny+': _vim('tiny', 'vim_t_midclstok_ft_78p3acc.pth', 78.3, stride=8),
    'vim_small': _vim('small', 'vim_s_midclstok_80p5acc.pth', 80.5),
    'vim_small+': _vim('small', 'vim_s_midclstok_ft_81p6acc.pth', 81.6, stride=8),
    'vim_base': _vim('base', 'vim_b_midclstok_81p9acc.pth', 81.9),
    **{
        f'vmamba_{arch}': _vmamba(arch, release, file, top1)
        for arch, release, file, top1 in (
            ('tiny_s1l8', 'v2cls', 'vssm1_tiny_0230s_ckpt_epoch_264.pth', 82.6),
            ('tiny_s2l5', 'v2cls', 'vssm_tiny_0230_ckpt_epoch_262.pth', 82.5),
            ('small_s2l15', 'v2cls', 'vssm_small_0229_ckpt_epoch_222.pth', 83.6),
            ('small_s1l20', 'v2cls', 'vssm1_small_0229s_ckpt_epoch_240.pth', 83.3),
            ('base_s2l15', 'v2cls', 'vssm_base_0229_ckpt_epoch_237.pth', 83.9),
            ('base_s1l20', 'v2cls', 'vssm1_base_0229s_ckpt_epoch_225.pth', 83.8),
            ('v0_tiny', 'v0cls', 'vssmtiny_dp01_ckpt_epoch_292.pth', 82.2),
            ('v0_small', 'v0cls', 'vssmsmall_dp03_ckpt_epoch_238.pth', 83.5),
            ('v0_base', 'v0cls', 'vssmbase_dp06_ckpt_epoch_241.pth', 83.7),
        )
    },
    'mamba_reg_small': _mamba_reg('small', 81.4),
    'mamba_reg_base': _mamba_reg('base', 83.0),
    'mamba_reg_large': _mamba_reg('large', 83.6),
    'mamba_vision_tiny': _mamba_vision('tiny', 'T', 82.3),
    'mamba_vision_tiny2': _mamba_vision('tiny2', 'T2', 82.7),
    'mamba_vision_small': _mamba_vision('small', 'S', 83.3),
    'mamba_vision_base': _mamba_vision('base', 'B', 84.2),
    'mamba_vision_large': _mamba_vision('large', 'L', 85.0),
    'mamba_vision_large2': _mamba_vision('large2', 'L2', 85.3),
}
_FIRST_FAMILY = 'vim_'  # names may come without it


def official_name(name: str) -> str:
    """Return the name in :data:`OFFICIAL`, of which hyphens and a missing ``vim_`` make no other.

    Raises:
        UserError: there is none.
    """
    plain = name.lower().replace('-', '_')
    for known in (plain, _FIRST_FAMILY + plain):
        if known in OFFICIAL:
            return known
    raise UserError(f'no published checkpoint {name!r}; known are {", ".join(OFFICIAL)}')


def url_of(name: str) -> str:
    """Return the address of a published checkpoint; see :func:`official_name`."""
    return OFFICIAL[official_name(name)].url
