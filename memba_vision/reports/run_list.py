"""Single runs as comma-separated values: small enough to keep, and all that tables are made of."""

import csv
import io
from collections.abc import Iterable

from memba_vision.apis.results import Result
from memba_vision.apis.tables import csv_table

# Of a result, what is not a path of the machine that wrote it.
COLUMNS = {
    'method': str,
    'task': str,
    'seed': int,
    'top1': float,
    'test_images': int,
    'adapter_parameters': int,
    'trained_parameters': int,
    'training_seconds': float,
    'peak_memory_mib': float,
}


def write_run_list(results: Iterable[Result]) -> str:
    """A line per run, sorted; values that are not known are empty."""
    rows = [[_text(getattr(result, name)) for name in COLUMNS] for result in results]
    return csv_table([list(COLUMNS), *sorted(rows)])


def read_run_list(text: str) -> list[Result]:
    """What :func:`write_run_list` wrote, but for the paths of config and checkpoint."""
    rows = csv.DictReader(io.StringIO(text))
    return [Result(config='', checkpoint='', **_values(row)) for row in rows]


def _values(row: dict[str, str]) -> dict[str, str | float | None]:
    return {name: kind(row[name]) if row[name] else None for name, kind in COLUMNS.items()}


def _text(value: str | float | None) -> str:
    if isinstance(value, float):
        return f'{value:.6g}'
    return '' if value is None else str(value)
