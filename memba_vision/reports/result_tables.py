"""Tables of results: a row per task, with the means of groups and suites, in three formats."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from memba_vision.datasets.benchmarks import Benchmark, benchmarks_of
from memba_vision.errors import UserError
from memba_vision.files import csv_table, encode_surrogates, write_atomically
from memba_vision.reports.statistics import mean_over_groups
from memba_vision.reports.text_tables import markdown_table
from memba_vision.runs.backbone import Backbone, backbone_labels
from memba_vision.runs.metrics import Metric
from memba_vision.runs.result import Result


def table_header(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the names of the columns, with one for backbones if results have several."""
    metrics = {result.measure for result in results} or {Metric()}
    value = ('metric', 'value') if len(metrics) > 1 else (metrics.pop().title,)
    backbone = ('backbone',) if len(set(_labels(results).values())) > 1 else ()
    return ('method', *backbone, 'task', 'group', *value, 'trained parameters')


def table_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return rows under :func:`table_header`: by method tasks, means of groups, and the average.

    The average is the mean over tasks, that of groups the mean over the groups' means; a task with
    several runs counts with their mean. If tasks of a suite are missing, the mean gives the number
    of its tasks. A mean is of one suite, one backbone and one metric.
    """
    suites = benchmarks_of(result.task for result in results)
    names = _labels(results)
    several = len({result.measure for result in results}) > 1
    rows = []
    for (method, backbone, metric), own in _comparable(results, names).items():
        before = (method, backbone) if len(set(names.values())) > 1 else (method,)
        beside = (metric.title,) if several else ()
        for task, group, value, size in _method_rows(own, metric, suites):
            rows.append((*before, task, group, *beside, value, size))
    return rows


def _labels(results: Sequence[Result]) -> dict[tuple[str, Backbone], str]:
    return backbone_labels((result.method, result.backbone) for result in results)


def _comparable(
    results: Sequence[Result], names: dict[tuple[str, Backbone], str]
) -> dict[tuple[str, str, Metric], list[Result]]:
    """Group results by method, name of the backbone and metric."""
    methods, groups = defaultdict(list), defaultdict(list)
    for result in results:
        methods[result.method].append(result)
    for result in chain.from_iterable(methods.values()):
        backbone = names[result.method, result.backbone]
        groups[result.method, backbone, result.measure].append(result)
    return groups


def _method_rows(
    own: Sequence[Result], metric: Metric, suites: Sequence[Benchmark]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield task or mean, group or number of tasks, value and trained parameters."""
    measured = [s for s in suites if any(result.task in s.tasks for result in own)]
    for suite in measured:
        before = f'{suite.title} ' if len(measured) > 1 else ''
        order = [*suite.tasks]
        same = [result for result in own if result.task in suite.tasks]
        same.sort(key=lambda result: order.index(result.task))
        for result in same:
            group = suite.tasks[result.task].group
            value, size = metric.number(result.value, 2), f'{result.trained_parameters:,}'
            yield result.task, group, value, size
        if len(same) > 1:
            for label, *rest in _mean_rows(same, metric, suite):
                yield f'{before}{label}', *rest


def _mean_rows(
    results: Sequence[Result], metric: Metric, suite: Benchmark
) -> Iterator[tuple[str, str, str, str]]:
    values = defaultdict(dict)
    for number, result in enumerate(results):
        values[result.task][number] = result.value
    groups = [*suite.groups.values()]
    means = {f'{group} mean': [tasks] for group, tasks in suite.groups.items()}
    means['average'] = [[*suite.tasks]]
    if len(groups) > 1:
        means['average of groups'] = groups
    for label, of_groups in means.items():
        found = mean_over_groups(values, of_groups, [])
        if found:
            of_all = '' if found.tasks == found.of_tasks else f' of {found.of_tasks}'
            yield label, f'{found.tasks}{of_all} tasks', metric.number(found.value, 2), ''


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
