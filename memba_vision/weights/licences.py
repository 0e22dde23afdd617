"""Licences of published weights, by the addresses that they come from."""

import logging
from types import MappingProxyType

from mmengine.logging import print_log

_NONE_STATED = 'no licence stated by its authors: ask them before you use or pass it on'
#: By the beginning of the address.
LICENCES = MappingProxyType(
    {
        'memba_vision://': 'Apache-2.0',  # comes along
        'https://huggingface.co/hustvl/Vim-': 'Apache-2.0',
        'https://github.com/MzeroMiko/VMamba/': 'MIT',
        'https://huggingface.co/Wangf3014/Mamba-Reg/': _NONE_STATED,
        'https://huggingface.co/nvidia/MambaVision-': 'CC-BY-NC-SA-4.0, not for commercial use',
        'https://dl.fbaipublicfiles.com/deit/': 'Apache-2.0',
        'https://github.com/SwinTransformer/': 'MIT',
        'https://huggingface.co/timm/vit_': 'Apache-2.0',
    }
)
#: Licences that let anybody use the weights for anything.
FREE = ('Apache-2.0', 'MIT')


def licence_of(url: str) -> str | None:
    """Return the licence of the weights at an address, None where it is not known."""
    return next((name for start, name in LICENCES.items() if url.startswith(start)), None)


def announce(url: str) -> None:
    """Log under which licence weights are that are about to be downloaded, if it is known."""
    licence = licence_of(url)
    if licence is not None:
        level = logging.INFO if licence in FREE else logging.WARNING
        print_log(f'{url}: licence: {licence}', logger='current', level=level)
