"""Check of the arch that a file of weights is of, as the shapes in it tell."""

from collections.abc import Collection, Mapping
from typing import Any

from memba_vision.errors import UserError


def count_blocks(names: Collection[str], prefix: str) -> int:
    """Return how many numbers follow ``prefix`` in names such as 'layers.3.norm.weight'."""
    rests = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return len({rest.partition('.')[0] for rest in rests})


def check_arch(
    family: str,
    found: Mapping[str, Any],
    own: Mapping[str, Any],
    archs: Mapping[str, Mapping[str, Any]],
    source: str,
) -> None:
    """Compare the arch that a file is of with that of a backbone.

    Args:
        family: the class of the backbone.
        found: settings of an arch, read from the shapes in the file.
        own: the settings of the backbone.
        archs: the settings of the archs that have names; more than ``found`` may be there.
        source: the file, for the error's text.

    Raises:
        UserError: it is of another arch, which is named.
    """
    if any(own[name] != setting for name, setting in found.items()):
        held, wanted = (_spelled(settings, archs) for settings in (found, own))
        raise UserError(
            f'{source} is of the {family} with arch={held}, and this one has arch={wanted}: set '
            f'arch={held}, or get the other file'
        )


def _spelled(settings: Mapping[str, Any], archs: Mapping[str, Mapping[str, Any]]) -> str:
    for name, known in archs.items():
        if all(known.get(key) == value for key, value in settings.items()):
            return repr(name)
    return f'dict({", ".join(f"{key}={value!r}" for key, value in settings.items())})'
