"""Runs of several methods, tasks and seeds as one table."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from memba_vision.apis.results import Result
from memba_vision.apis.runs import RESULT_FILE
from memba_vision.apis.tables import markdown_table
from memba_vision.errors import UserError


def collect(folder: str | Path) -> list[Result]:
    """The results of all runs below ``folder``.

    Raises:
        UserError: there is none, or a record cannot be read.
    """
    paths = sorted(Path(folder).rglob(RESULT_FILE))
    if not paths:
        raise UserError(f'no {RESULT_FILE} below {folder}: train something first')
    return [read_result(path) for path in paths]


def read_result(path: Path) -> Result:
    """Read the record of one run.

    Raises:
        UserError: it is not one.
    """
    try:
        return Result(**json.loads(path.read_text(encoding='utf-8')))
    except (ValueError, TypeError) as error:
        raise UserError(
            f'{path} is not a result of this version: remove it, or test again'
        ) from error


def accuracy_table(results: Sequence[Result]) -> str:
    """A Markdown table: a row per method, a column per task, top-1 as mean ± deviation over seeds.

    With several tasks the last column is their mean, and the best method comes first. A cell
    without runs is left empty, and the number of seeds stands beside a cell where it is not that of
    the others. The mean is left out where a task is missing: over others it would not compare.
    """
    runs = defaultdict(list)
    for result in results:
        runs[result.method, result.task].append(result)
    tasks = sorted({result.task for result in results})
    rows = [
        _row(method, [runs[method, task] for task in tasks])
        for method in sorted({result.method for result in results})
    ]
    rows.sort(key=lambda row: -math.inf if row.mean is None else row.mean, reverse=True)
    seeds = max(map(len, runs.values()))
    header = (f'method ({_count(seeds)})', 'adapter parameters', *tasks, 'mean')
    table = [header, *(_cells(row, seeds) for row in rows)]
    if len(tasks) == 1:
        table = [row[:-1] for row in table]
    return markdown_table(table, numbers_from=1)


class _Row(NamedTuple):
    """What was measured of a method."""

    method: str
    sizes: tuple[int, ...]  # of its adapters; a family of models may have more than one
    accuracies: tuple[tuple[float, ...], ...]  # task by task, seed by seed
    mean: float | None  # over the tasks


def _row(method: str, tasks: Sequence[Sequence[Result]]) -> _Row:
    sizes = sorted({run.adapter_parameters for task in tasks for run in task})
    accuracies = tuple(tuple(run.top1 for run in task) for task in tasks)
    total = mean(map(mean, accuracies)) if all(accuracies) else None
    return _Row(method, tuple(sizes), accuracies, total)


def _cells(row: _Row, seeds: int) -> tuple[str, ...]:
    size = ' / '.join(f'{size:,}' for size in row.sizes)
    total = '' if row.mean is None else f'{row.mean:.1f}'
    return (row.method, size, *(_cell(task, seeds) for task in row.accuracies), total)


def _cell(values: Sequence[float], seeds: int) -> str:
    if not values:
        return ''
    text = f'{mean(values):.1f}'
    if len(values) > 1:
        text += f' ± {stdev(values):.1f}'
    return text if len(values) == seeds else f'{text} ({_count(len(values))})'


def _count(seeds: int) -> str:
    return f'{seeds} seed' if seeds == 1 else f'{seeds} seeds'
