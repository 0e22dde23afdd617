"""List of entries that a builder skips: grouped for the console, in full as a csv."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memba_vision.files import csv_table

#: The full list, in the folder of the task that was built.
LEFT_OUT = 'left_out.csv'
NAMES_SHOWN = 5  # per reason, on the console


@dataclass(frozen=True)
class SkippedEntry:
    """Skipped file, folder with its content, or row of a csv, and the reason."""

    path: Path
    reason: str


def as_text(entries: Sequence[SkippedEntry]) -> str:
    """Return a line per reason, with the number of entries and the first names; '' for none."""
    by_reason: dict[str, list[SkippedEntry]] = {}
    for entry in entries:
        by_reason.setdefault(entry.reason, []).append(entry)
    lines = [f'left out: {len(entries):,}'] if entries else []
    for reason, group in by_reason.items():
        names = ', '.join(shown(entry.path) for entry in group[:NAMES_SHOWN])
        more = len(group) - NAMES_SHOWN
        lines.append(f'  {len(group):,} {reason}: {names}{f", and {more:,} more" * (more > 0)}')
    return ''.join(f'{line}\n' for line in lines)


def as_csv(entries: Sequence[SkippedEntry]) -> str:
    """Return lines ``path,reason`` under a header."""
    rows = [(shown(entry.path), entry.reason) for entry in entries]
    return csv_table([('path', 'reason'), *rows])


def shown(name: str | Path) -> str:
    """Return a name in which unprintable characters, and bytes that are no text, are escaped.

    Python holds a byte of a file's name that is not UTF-8 as a character that cannot be encoded.
    """
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))
