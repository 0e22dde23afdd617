"""State dicts whose metadata name the file that they were read from.

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
    """Metadata of a state dict: torch's versions of modules, and the file."""

    def __init__(self, metadata: Mapping[str, dict], source: str) -> None:
        super().__init__(metadata)
        self.source = source

    def get(self, name: str, default: dict | None = None) -> dict[str, Any]:
        return {**super().get(name, default or {}), _SOURCE: self.source}


def marked(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, dict], source: str
) -> OrderedDict[str, torch.Tensor]:
    """Return the tensors as a state dict whose metadata name ``source``."""
    state_dict = OrderedDict(tensors)
    state_dict._metadata = _Metadata(metadata, source)
    return state_dict


def source_of(local_metadata: Mapping[str, Any]) -> str | None:
    """Return the file that the metadata in a load hook name; None if there is none."""
    return local_metadata.get(_SOURCE)
