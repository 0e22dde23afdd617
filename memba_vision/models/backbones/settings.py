"""Checks of the settings that backbones have in common."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from memba_vision.errors import UserError


def arch_settings(
    backbone: str,
    arch: str | Mapping[str, Any],
    archs: Mapping[str, Mapping[str, Any]],
    required: Collection[str],
    known: Sequence[str],
) -> dict[str, Any]:
    """Return the settings of an architecture, by name or as they are.

    Args:
        backbone: the class, for the errors' texts.
        arch: a name, or a dict of settings.
        archs: the settings of the named ones.
        required: what a dict must have.
        known: what a dict may have.

    Raises:
        UserError: the name is unknown, or the dict lacks a setting or has an unknown one.
    """
    if isinstance(arch, str):
        if arch not in archs:
            raise UserError(
                f'{backbone}: unknown arch {arch!r}; known are {", ".join(archs)}, or a dict'
            )
        return dict(archs[arch])
    if missing := set(required) - set(arch):
        raise UserError(f'{backbone}: the arch dict lacks {" and ".join(sorted(missing))}')
    if unknown := set(arch) - set(known):
        raise UserError(
            f'{backbone}: the arch dict has unknown {" and ".join(sorted(unknown))}; known are '
            f'{", ".join(known)}'
        )
    return dict(arch)


def output_numbers(
    backbone: str, out_indices: int | Sequence[int], count: int, parts: str
) -> tuple[int, ...]:
    """Return ``out_indices`` counted from 0.

    Raises:
        UserError: there are not so many ``parts``, which are ``count``.
    """
    indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    for index in indices:
        if not -count <= index < count:
            raise UserError(f'{backbone}: out_indices holds {index}, but there are {count} {parts}')
    return tuple(index % count for index in indices)


def check_frozen_stages(backbone: str, frozen_stages: int, count: int, parts: str) -> None:
    """Raise a UserError where there are not so many ``parts``, which are ``count``."""
    if not -1 <= frozen_stages <= count:
        raise UserError(
            f'{backbone}: frozen_stages is {frozen_stages}, but there are {count} {parts}: -1 '
            'freezes none, and a number so many of them'
        )


def check_out_type(backbone: str, out_type: str, known: Collection[str]) -> None:
    """Raise a UserError where ``out_type`` is none of ``known``."""
    if out_type not in known:
        raise UserError(f'{backbone}: unknown out_type {out_type!r}; known are {", ".join(known)}')
