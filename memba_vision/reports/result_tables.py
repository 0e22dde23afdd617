"""Tables of results: a row per task, with the means of groups and suites, in three formats."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from memba_vision.datasets.tasks import MINI_TASKS, OWN_DATA, VTAB1K_TASKS, Task, find_task
from memba_vision.errors import UserError
from memba_vision.files import encoded, write_atomically
from memba_vision.reports.text_tables import csv_table, markdown_table
from memba_vision.runs.backbone import Backbone, backbone_labels
from memba_vision.runs.metrics import Metric
from memba_vision.runs.result import Result


def table_header(results: Sequence[Result]) -> tuple[str, ...]:
    """Names of the columns: that of backbones is there where results have several of them."""
    metrics = {result.measure for result in results} or {Metric()}
    value = ('metric', 'value') if len(metrics) > 1 else (metrics.pop().title,)
    backbone = ('backbone',) if len(_labels(results)) > 1 else ()
    return ('method', *backbone, 'task', 'group', *value, 'trained parameters')


def table_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Rows under :func:`table_header`: tasks, and the means of groups and of tasks, by method.

    The average is the mean over tasks, not over groups. Where tasks of a suite are missing, the
    mean says over how many it is. A mean is of one backbone and one metric.
    """
    suites, names = _suites(results), backbone_labels(result.backbone for result in results)
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
    """Results by method, name of the backbone and metric."""
    groups: dict[tuple[str, str, Metric], list[Result]] = {}
    for method in dict.fromkeys(result.method for result in results):
        for result in results:
            if result.method == method:
                key = method, names[result.backbone], result.measure
                groups.setdefault(key, []).append(result)
    return groups


def _method_rows(
    own: list[Result], metric: Metric, suites: Sequence[dict[str, Task]]
) -> list[tuple[str, str, str, str]]:
    """Task or mean, group or number of tasks, value and trained parameters."""
    known = [task for suite in suites for task in suite.values()]
    own.sort(key=lambda result: known.index(_task(result)))
    rows = [
        (r.task, _task(r).group, metric.number(r.value, 2), f'{r.trained_parameters:,}')
        for r in own
    ]
    if len(own) > 1:
        for group in dict.fromkeys(_task(result).group for result in own):
            tasks = [task for task in known if task.group == group]
            rows.append(_mean_row(f'{group} mean', own, tasks, metric))
        measured = [s for s in suites if any(result.task in s for result in own)]
        tasks = [task for suite in measured for task in suite.values()]
        rows.append(_mean_row('average', own, tasks, metric))
    return rows


def _suites(results: Sequence[Result]) -> list[dict[str, Task]]:
    tables = [VTAB1K_TASKS, MINI_TASKS]
    own = {result.task: _task(result) for result in results}
    return [*tables, {name: t for name, t in own.items() if not any(name in x for x in tables)}]


def _task(result: Result) -> Task:
    name = result.task
    if name in VTAB1K_TASKS | MINI_TASKS:
        return find_task(name)
    return Task(name, name, num_classes=0, num_test=result.test_images, group=OWN_DATA)


def _mean_row(
    label: str, results: Sequence[Result], tasks: Sequence[Task], metric: Metric
) -> tuple[str, str, str, str]:
    values = [result.value for result in results if _task(result) in tasks]
    of_all = '' if len(values) == len(tasks) else f' of {len(tasks)}'
    return label, f'{len(values)}{of_all} tasks', metric.number(mean(values), 2), ''


def as_markdown(results: Sequence[Result]) -> str:
    """The table in Markdown, its columns aligned."""
    header = table_header(results)
    return markdown_table([header, *table_rows(results)], numbers_from=len(header) - 2)


def as_csv(results: Sequence[Result]) -> str:
    """The table as comma-separated values."""
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
    write_atomically(path, encoded(writers[Path(path).suffix]()))


def check_table_path(path: str) -> None:
    """Raise a UserError where a table cannot be written under such a name."""
    if Path(path).suffix not in ('.md', '.csv', '.json'):
        raise UserError(f'--out {path}: the name must end in .md, .csv or .json')
