"""Tables of results: a row per task, with the means of groups and suites, in three formats."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from memba_vision.datasets.benchmarks import Benchmark, benchmarks_of
from memba_vision.errors import UserError
from memba_vision.files import encode_surrogates, write_atomically
from memba_vision.reports.text_tables import csv_table, markdown_table
from memba_vision.runs.backbone import Backbone, backbone_labels
from memba_vision.runs.metrics import Metric
from memba_vision.runs.result import Result


def table_header(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the names of the columns, with one for backbones if results have several."""
    metrics = {result.measure for result in results} or {Metric()}
    value = ('metric', 'value') if len(metrics) > 1 else (metrics.pop().title,)
    backbone = ('backbone',) if len(_labels(results)) > 1 else ()
    return ('method', *backbone, 'task', 'group', *value, 'trained parameters')


def table_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return rows under :func:`table_header`: by method tasks, means of groups, and the average.

    The average is the mean over tasks, not over groups. If tasks of a suite are missing, the mean
    gives the number of its tasks. A mean is of one suite, one backbone and one metric.
    """
    suites = benchmarks_of(result.task for result in results)
    names = backbone_labels(result.backbone for result in results)
    several = len({result.measure for result in results}) > 1
    rows = []
    for (method, backbone, metric), own in _comparable(results, names).items():
        before = (method, backbone) if len(set(names.values())) > 1 else (method,)
        beside = (metric.title,) if several else ()
        for task, group, value, size in _method_rows(own, metric, suites):
            rows.append((*before, task, group, *beside, value, size))
    return rows


def _labels(results: Sequence[Result]) -> set[str]:
    return set(backbone_labels(result.backbone for result in results).values())


def _comparable(
    results: Sequence[Result], names: dict[Backbone, str]
) -> dict[tuple[str, str, Metric], list[Result]]:
    """Group results by method, name of the backbone and metric."""
    groups: dict[tuple[str, str, Metric], list[Result]] = defaultdict(list)
    order = [*dict.fromkeys(result.method for result in results)]
    for result in sorted(results, key=lambda result: order.index(result.method)):
        groups[result.method, names[result.backbone], result.measure].append(result)
    return groups


def _method_rows(
    own: list[Result], metric: Metric, suites: Sequence[Benchmark]
) -> list[tuple[str, str, str, str]]:
    """Return task or mean, group or number of tasks, value and trained parameters."""
    groups = {name: task.group for suite in suites for name, task in suite.tasks.items()}
    own.sort(key=lambda result: [*groups].index(result.task))
    rows = [
        (r.task, groups[r.task], metric.number(r.value, 2), f'{r.trained_parameters:,}')
        for r in own
    ]
    measured = [s for s in suites if any(result.task in s.tasks for result in own)]
    for suite in measured if len(own) > 1 else ():
        before = f'{suite.title} ' if len(measured) > 1 else ''
        for group, tasks in suite.groups.items():
            if any(result.task in tasks for result in own):
                rows.append(_mean_row(f'{before}{group} mean', own, tasks, metric))
        rows.append(_mean_row(f'{before}average', own, [*suite.tasks], metric))
    return rows


def _mean_row(
    label: str, results: Sequence[Result], tasks: Sequence[str], metric: Metric
) -> tuple[str, str, str, str]:
    values = [result.value for result in results if result.task in tasks]
    of_all = '' if len(values) == len(tasks) else f' of {len(tasks)}'
    return label, f'{len(values)}{of_all} tasks', metric.number(mean(values), 2), ''


def as_markdown(results: Sequence[Result]) -> str:
    """Return the table in Markdown, its columns aligned."""
    header = table_header(results)
    return markdown_table([header, *table_rows(results)], numbers_from=len(header) - 2)


def as_csv(results: Sequence[Result]) -> str:
    """Return the table as comma-separated values."""
    return csv_table([table_header(results), *table_rows(results)])


def write_table(path: str, results: Sequence[Result]) -> None:
    """Write the results as ``.md``, ``.csv`` or ``.json``, by the file's ending.

    Raises:
        UserError: another ending.
    """
    check_table_path(path)
    writers = {
        '.md': lambda: as_markdown(results),
        '.csv': lambda: as_csv(results),
        '.json': lambda: json.dumps([r.as_record() for r in results], indent=2) + '\n',
    }
    write_atomically(path, encode_surrogates(writers[Path(path).suffix]()))


def check_table_path(path: str) -> None:
    """Raise a UserError if a table cannot be written under such a name."""
    if Path(path).suffix not in ('.md', '.csv', '.json'):
        raise UserError(f'--out {path}: the name must end in .md, .csv or .json')
