"""Single runs as comma-separated values: small enough to keep, and enough for all tables."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from memba_vision.files import csv_table
from memba_vision.runs.backbone import UNKNOWN, Backbone
from memba_vision.runs.metrics import Metric
from memba_vision.runs.result import Result


def _is_true(text: str) -> bool:
    """Read True or False, which spreadsheets write in capitals."""
    if text.lower() not in ('true', 'false'):
        raise ValueError(f'expected True or False, found {text!r}')
    return text.lower() == 'true'


#: In the folder of a report.
RUN_LIST = 'runs.csv'

# Columns of every list: the fields of a result but for paths, which depend on the machine.
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
#: Further columns if the architecture of a run is known.
BACKBONE = {'family': str, 'arch': str, 'base': str}
#: Further columns if another metric than top-1 was measured, or not on the test.
METRIC = {
    'metric': str,
    'value': float,
    'higher_is_better': _is_true,
    'split': str,
}
#: A further column if settings were tried.
TRIED = {'settings': json.loads}


def write_run_list(results: Iterable[Result]) -> str:
    """Return a line per run; values that are not known are empty.

    They are sorted, but where settings were tried: a grid has its order. Columns of ``BACKBONE``,
    ``METRIC`` and ``TRIED`` are added if they differ from the usual ones.
    """
    results = list(results)
    columns = [*COLUMNS, *_further_columns(results)]
    rows = [[_text(_of(result, name)) for name in columns] for result in results]
    return csv_table([columns, *(rows if 'settings' in columns else sorted(rows))])


def _further_columns(results: Sequence[Result]) -> list[str]:
    columns = [*BACKBONE] if any(result.backbone != UNKNOWN for result in results) else []
    tried = [*TRIED] if any(result.settings for result in results) else []
    is_usual = all(result.measure == Metric() for result in results)
    return [*columns, *([] if is_usual else METRIC), *tried]


def _of(result: Result, column: str) -> Any:
    return getattr(result.backbone if column in BACKBONE else result, column)


def read_run_list(text: str) -> list[Result]:
    """Read the output of :func:`write_run_list`; paths of config and checkpoint are empty."""
    return [_result(row) for row in csv.DictReader(io.StringIO(text))]


def _result(row: dict[str, str]) -> Result:
    values = {name: kind(row[name]) if row[name] else None for name, kind in COLUMNS.items()}
    further = _present(row, METRIC | TRIED)
    backbone = Backbone(**_present(row, BACKBONE))
    record = {'config': '', 'checkpoint': '', **values, **further}
    return replace(Result.from_record(record), backbone=backbone)


def _present(row: dict[str, str], columns: dict[str, Callable[[str], Any]]) -> dict[str, Any]:
    return {name: kind(row[name]) for name, kind in columns.items() if row.get(name)}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, float):
        return f'{value:.6g}'
    return '' if value is None else str(value)
