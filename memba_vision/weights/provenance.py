"""State dicts that say which file they were read from.

mmengine's ``load_checkpoint`` hands a state dict to modules piece by piece, and only logs what does
not fit. The metadata of a state dict reaches every module: with the file's name in it, a module can
be strict where a file is loaded, and leave alone what a program puts together itself.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

_SOURCE = 'read_from'


class _Metadata(OrderedDict):
    """Versions of modules by their names, as torch keeps them, and for each the file."""

    def __init__(self, metadata: Mapping[str, dict], source: str) -> None:
        super().__init__(metadata)
        self.source = source

    def get(self, name: str, default: dict | None = None) -> dict[str, Any]:
        return {**super().get(name, default or {}), _SOURCE: self.source}


def marked(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, dict], source: str
) -> OrderedDict[str, torch.Tensor]:
    """The tensors as a state dict whose metadata names ``source``."""
    state_dict = OrderedDict(tensors)
    state_dict._metadata = _Metadata(metadata, source)
    return state_dict


def source_of(local_metadata: Mapping[str, Any]) -> str | None:
    """The file, out of what a hook for loading a state dict gets; None if it is not from one."""
    return local_metadata.get(_SOURCE)
