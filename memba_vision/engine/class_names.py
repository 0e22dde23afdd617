"""Comparison of class names in checkpoints and data, and of their number with a head's outputs."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from memba_vision.errors import UserError

SHOWN = 5  # differences that an error lists
RENAMED = 'renamed_classes'
OPTION = '--renamed-classes'
HELP = 'take classes for the same though their names differ from those in the checkpoint'


def names_in(meta: Any) -> list[str] | None:
    """Return the names of the classes in a dataset's ``metainfo``; None where it has none."""
    names = meta.get('classes') if isinstance(meta, Mapping) else None
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def names_of_checkpoint(meta: Mapping) -> list[str] | None:
    """Return the names of the classes in a checkpoint's ``meta``; None where it has none."""
    return names_in(meta.get('dataset_meta'))


def class_names(meta: Mapping, number: int, checkpoint: str) -> list[str]:
    """Return the names of the classes from a checkpoint's ``meta``; numbers where it has none.

    Raises:
        UserError: there are more or fewer names than the ``number`` of the head's outputs.
    """
    names = names_of_checkpoint(meta)
    if names is None:
        return [str(label) for label in range(number)]
    check_number(names, number, checkpoint)
    return names


def check_number(names: Sequence[str], outputs: int, source: str) -> None:
    """Raise a UserError where a head has more or fewer outputs than there are names.

    Args:
        names: the names of the classes.
        outputs: the number of the head's outputs.
        source: the origin of the names, for the error's text.
    """
    if isinstance(names, str):
        raise UserError(f'{source} is one text, {names!r}: give a list of names')
    if len(names) != outputs:
        raise UserError(
            f'{source} names {len(names)} classes, but the head has {outputs} outputs: a name for '
            'each output is needed, in the order of the labels'
        )


def check_names(
    held: Sequence[str], wanted: Sequence[str], source: str, renamed: bool = False
) -> str:
    """Compare the classes of a checkpoint with those that it is to be used for.

    Args:
        held: names in the checkpoint, in the order of the labels.
        wanted: names in the data.
        source: the origin of both, for the error's text.
        renamed: accept other names for the same classes, unless a name has moved to another
            label.

    Returns:
        The differences in a line; empty where there are none.

    Raises:
        UserError: classes were renamed, added, left out or put into another order.
    """
    text = describe_difference(held, wanted, source)
    same_labels = len(held) == len(wanted) and not _moved(held, wanted)
    if not text or (renamed and same_labels):
        return text
    advice = f'; if these are the same classes under other names, add {OPTION}'
    raise UserError(
        f'{text}. Accuracy and names would be wrong: use data with the classes of the training, in '
        f'the same order, or train anew{advice if same_labels else ""}'
    )


def describe_difference(held: Sequence[str], wanted: Sequence[str], source: str) -> str:
    """Return a line with the labels that have other classes; '' where there are none."""
    lines = _differences(held, wanted)
    rest = f' and {len(lines) - SHOWN} more' if len(lines) > SHOWN else ''
    return f'{source} are not the same: {"; ".join(lines[:SHOWN])}{rest}' if lines else ''


def _differences(held: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return a line for each label whose class differs."""
    missing = 'no class'
    lines = []
    for label in range(max(len(held), len(wanted))):
        before, now = (repr(n[label]) if label < len(n) else missing for n in (held, wanted))
        if missing in (before, now) or _plain(held[label]) != _plain(wanted[label]):
            lines.append(f'label {label} was {before} and is {now}')
    return lines


def _moved(held: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return True if a name moved to another label; ImageNet has two classes of one name."""
    labels = defaultdict(set)
    for label, name in enumerate(held):
        labels[_plain(name)].add(label)
    return any(
        _plain(name) in labels and label not in labels[_plain(name)]
        for label, name in enumerate(wanted)
    )


def _plain(name: str) -> str:
    # Byte order mark, form of Unicode and white space depend on who wrote a list of names.
    return unicodedata.normalize('NFC', name.lstrip('\ufeff')).strip()
