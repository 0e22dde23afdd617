"""Runs of several methods, tasks and seeds as one table."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from memba_vision.apis.results import Result
from memba_vision.apis.runs import RESULT_FILE
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


def method_table(results: Sequence[Result]) -> str:
    """A Markdown table: a row per method, a column per task, top-1 as mean ± deviation over seeds.

    A cell without runs is left empty, and the number of seeds stands beside a cell where it is
    not that of the others.
    """
    cells = defaultdict(list)
    for result in results:
        cells[result.method, result.task].append(result)
    tasks = list(dict.fromkeys(sorted(result.task for result in results)))
    methods = sorted({result.method for result in results})
    seeds = max(len(runs) for runs in cells.values())
    lines = [
        f'| method ({_count(seeds)}) | adapter parameters | ' + ' | '.join(tasks) + ' |',
        '| --- | ---: |' + ' ---: |' * len(tasks),
    ]
    for method in methods:
        sizes = {run.adapter_parameters for task in tasks for run in cells[method, task]}
        row = [_cell([run.top1 for run in cells[method, task]], seeds) for task in tasks]
        size = ' / '.join(f'{size:,}' for size in sorted(sizes))
        lines.append(f'| {method} | {size} | ' + ' | '.join(row) + ' |')
    return '\n'.join(lines) + '\n'


def _cell(values: list[float], seeds: int) -> str:
    if not values:
        return ''
    text = f'{mean(values):.1f}'
    if len(values) > 1:
        text += f' ± {stdev(values):.1f}'
    return text if len(values) == seeds else f'{text} ({_count(len(values))})'


def _count(seeds: int) -> str:
    return f'{seeds} seed' if seeds == 1 else f'{seeds} seeds'
