"""Arguments that all backbones take, checked alike: arch, out_type, out_indices, frozen_stages."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from memba_vision.errors import UserError


def arch_settings(
    family: str,
    arch: str | Mapping[str, Any],
    archs: Mapping[str, Mapping[str, Any]],
    required: Collection[str],
    optional: Collection[str] = (),
) -> dict[str, Any]:
    """Return the settings that an arch stands for.

    Args:
        family: the class of the backbone, for the error's text.
        arch: the name of one, or a dict of settings.
        archs: the settings of those that have names.
        required: settings that a dict has.
        optional: settings that a dict may have.

    Raises:
        UserError: there is no such arch, or a dict lacks settings or has others.
    """
    if isinstance(arch, str):
        if arch not in archs:
            known = ', '.join(archs)
            raise UserError(f'{family}: unknown arch {arch!r}; known are {known}, or a dict')
        return dict(archs[arch])
    missing = set(required) - set(arch)
    if missing:
        raise UserError(f'{family}: the arch dict lacks {" and ".join(sorted(missing))}')
    known = [*required, *optional]
    unknown = set(arch) - set(known)
    if unknown:
        raise UserError(
            f'{family}: the arch dict has unknown {" and ".join(sorted(unknown))}; known are '
            f'{", ".join(known)}'
        )
    return dict(arch)


def check_out_type(family: str, out_type: str, known: Collection[str]) -> None:
    """Raise a UserError where ``out_type`` is none of those that are known."""
    if out_type not in known:
        raise UserError(f'{family}: unknown out_type {out_type!r}; known are {", ".join(known)}')


def check_frozen_stages(family: str, frozen_stages: int, count: int, parts: str) -> None:
    """Raise a UserError where more are to be frozen than there are ``parts``, so many."""
    if not -1 <= frozen_stages <= count:
        raise UserError(
            f'{family}: frozen_stages is {frozen_stages}, but there are {count} {parts}: -1 '
            'freezes none, and a number so many of them'
        )


def output_numbers(
    family: str, out_indices: int | Sequence[int], count: int, parts: str
) -> tuple[int, ...]:
    """Return the numbers of the parts that ``out_indices`` name, counted from 0.

    Args:
        family: the class of the backbone, for the error's text.
        out_indices: one number or several; negative ones count from the end.
        count: number of parts.
        parts: their name, for the error's text.

    Raises:
        UserError: there is no such part.
    """
    indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    for index in indices:
        if not -count <= index < count:
            raise UserError(f'{family}: out_indices holds {index}, but there are {count} {parts}')
    return tuple(index % count for index in indices)
