"""Check of the arch that a file of weights is of, as the shapes in it tell."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from memba_vision.errors import UserError


def count_blocks(names: Collection[str], prefix: str) -> int:
    """Return how many numbers follow ``prefix`` in names such as 'layers.3.norm.weight'."""
    rests = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return len({rest.partition('.')[0] for rest in rests})


def check_arch(backbone: nn.Module, found: Mapping[str, Any], source: str) -> None:
    """Compare the arch that a file is of with that of a backbone.

    Args:
        backbone: has ``settings``, those of its arch, and ``archs``, those of the archs that have
            names; both may hold more than ``found``.
        found: settings of an arch, read from the shapes in the file.
        source: the file, for the error's text.

    Raises:
        UserError: it is of another arch, which is named.
    """
    own = {name: backbone.settings[name] for name in found}
    if own != found:
        held, wanted = (_spelled(settings, backbone.archs) for settings in (found, own))
        raise UserError(
            f'{source} is of the {type(backbone).__name__} with arch={held}, and this one has '
            f'arch={wanted}: set arch={held}, or get the other file'
        )


def _spelled(settings: Mapping[str, Any], archs: Mapping[str, Mapping[str, Any]]) -> str:
    for name, known in archs.items():
        if all(known.get(key) == value for key, value in settings.items()):
            return repr(name)
    return f'dict({", ".join(f"{key}={value!r}" for key, value in settings.items())})'
