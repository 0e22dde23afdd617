"""Runs of several methods, tasks and seeds as one table."""

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from memba_vision.reports.text_tables import markdown_table
from memba_vision.runs.backbone import Backbone, backbone_labels
from memba_vision.runs.metrics import Metric
from memba_vision.runs.result import Result


def accuracy_table(results: Sequence[Result]) -> str:
    """A Markdown table: a row per method, a column per task, mean ± deviation over seeds.

    With several tasks the last column is their mean, and the best method comes first. A cell
    without runs is left empty, and the number of seeds stands beside a cell where it is not that of
    the others. The mean is left out where a task is missing: over others it would not compare.
    Each backbone has rows of its own, and each metric a table.
    """
    metrics = dict.fromkeys(result.measure for result in results)
    names = backbone_labels(result.backbone for result in results)
    return '\n'.join(
        _metric_table([r for r in results if r.measure == metric], metric, names)
        for metric in metrics
    )


def _metric_table(results: Sequence[Result], metric: Metric, names: dict[Backbone, str]) -> str:
    runs = defaultdict(list)
    for result in results:
        runs[result.method, names[result.backbone], result.task].append(result)
    tasks = sorted({result.task for result in results})
    rows = [
        _row(method, backbone, [runs[method, backbone, task] for task in tasks])
        for method, backbone in sorted({key[:2] for key in runs})
    ]
    best_first = -1 if metric.higher_is_better else 1
    rows.sort(key=lambda row: math.inf if row.mean is None else best_first * row.mean)
    seeds = max(map(len, runs.values()))
    measured = '' if metric == Metric() else f', {metric.title}'
    header = (f'method ({_count(seeds)}){measured}', 'backbone', 'adapter parameters', *tasks)
    table = [(*header, 'mean'), *(_cells(row, seeds, metric) for row in rows)]
    if len(tasks) == 1:
        table = [row[:-1] for row in table]
    several = len(set(names.values())) > 1
    if not several:
        table = [(row[0], *row[2:]) for row in table]
    return markdown_table(table, numbers_from=1 + several)


class _Row(NamedTuple):
    """Measurements of a method on a backbone."""

    method: str
    backbone: str
    sizes: tuple[int, ...]  # of its adapters; a family of models may have more than one
    values: tuple[tuple[float, ...], ...]  # task by task, seed by seed
    mean: float | None  # over the tasks


def _row(method: str, backbone: str, tasks: Sequence[Sequence[Result]]) -> _Row:
    sizes = sorted({run.adapter_parameters for task in tasks for run in task})
    values = tuple(tuple(run.value for run in task) for task in tasks)
    total = mean(map(mean, values)) if all(values) else None
    return _Row(method, backbone, tuple(sizes), values, total)


def _cells(row: _Row, seeds: int, metric: Metric) -> tuple[str, ...]:
    size = ' / '.join(f'{size:,}' for size in row.sizes)
    total = '' if row.mean is None else metric.number(row.mean, 1)
    tasks = [_cell(task, seeds, metric) for task in row.values]
    return (row.method, row.backbone, size, *tasks, total)


def _cell(values: Sequence[float], seeds: int, metric: Metric) -> str:
    if not values:
        return ''
    text = metric.number(mean(values), 1)
    if len(values) > 1:
        text += f' ± {metric.number(stdev(values), 1)}'
    return text if len(values) == seeds else f'{text} ({_count(len(values))})'


def _count(seeds: int) -> str:
    return f'{seeds} seed' if seeds == 1 else f'{seeds} seeds'
