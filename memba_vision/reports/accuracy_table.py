"""One table of several methods, tasks and seeds."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import NamedTuple

from memba_vision.datasets.benchmarks import Benchmark, benchmarks_of
from memba_vision.reports.statistics import Mean, best_first, mean_over_groups, part_of
from memba_vision.reports.text_tables import markdown_table, range_text, with_deviation
from memba_vision.runs.backbone import Backbone, backbone_labels
from memba_vision.runs.metrics import Metric
from memba_vision.runs.result import Result


def accuracy_table(results: Sequence[Result]) -> str:
    """Return a Markdown table: a row per method, a column per task, mean ± deviation over seeds.

    With several tasks the last columns are their mean and, if they are of several groups, the mean
    over the groups' means; the method of the best mean over tasks comes first, and those that lack
    tasks last. A mean is left out
    if a task is missing, since it would not compare. A cell without runs is empty, and a cell of
    fewer seeds than the row's others gives their number. Each backbone has rows of its own, and
    each benchmark and each metric a table.
    """
    return _tables(results, _task_columns)


def group_table(results: Sequence[Result]) -> str:
    """Return a table as :func:`accuracy_table` does, with a column per group instead of tasks."""
    return _tables(results, _group_columns)


def short_table(results: Sequence[Result]) -> str:
    """Return :func:`group_table` where a benchmark has several groups, else its tasks."""
    return _tables(results, lambda b, g: (_group_columns if len(g) > 1 else _task_columns)(b, g))


class _Column(NamedTuple):
    """A column of means over the tasks of a group, or over several groups' means."""

    title: str
    groups: tuple[tuple[str, ...], ...]
    has_deviation: bool = True


#: Tasks that were measured, by group.
Groups = dict[str, tuple[str, ...]]


def _task_columns(benchmark: Benchmark, groups: Groups) -> list[_Column]:
    tasks = [task for own in groups.values() for task in own]
    # A name of one word is wider than the numbers below; several groups have many columns.
    titles = [task.replace('_', ' ') if len(groups) > 1 else task for task in tasks]
    columns = [_Column(title, ((task,),)) for title, task in zip(titles, tasks, strict=True)]
    return columns + [total._replace(has_deviation=False) for total in _totals(groups)]


def _group_columns(benchmark: Benchmark, groups: Groups) -> list[_Column]:
    columns = [
        _Column(part_of(group, tasks, benchmark.groups[group]), (tasks,))
        for group, tasks in groups.items()
    ]
    return columns + _totals(groups)


def _totals(groups: Groups) -> list[_Column]:
    tasks = tuple(task for own in groups.values() for task in own)
    if len(groups) > 1:
        of_groups = _Column('mean over groups', tuple(groups.values()))
        return [_Column('mean over tasks', (tasks,)), of_groups]
    return [_Column('mean', (tasks,))] if len(tasks) > 1 else []


def _tables(
    results: Sequence[Result], columns_of: Callable[[Benchmark, Groups], list[_Column]]
) -> str:
    names = backbone_labels((result.method, result.backbone) for result in results)
    if len(set(names.values())) == 1:
        names = dict.fromkeys(names, '')
    benchmarks = benchmarks_of(result.task for result in results)
    tables = []
    for benchmark in benchmarks:
        title = f', {benchmark.title}' if len(benchmarks) > 1 else ''
        own = [result for result in results if result.task in benchmark.tasks]
        for metric in dict.fromkeys(result.measure for result in own):
            same = [result for result in own if result.measure == metric]
            columns = columns_of(benchmark, _measured(benchmark, same))
            tables.append(_table(_rows(same, names), columns, metric, title))
    return '\n'.join(tables)


def _measured(benchmark: Benchmark, results: Sequence[Result]) -> Groups:
    measured = {result.task for result in results}
    groups = {
        group: tuple(task for task in tasks if task in measured)
        for group, tasks in benchmark.groups.items()
    }
    return {group: tasks for group, tasks in groups.items() if tasks}


class _Row(NamedTuple):
    """Measurements of a method on a backbone."""

    method: str
    backbone: str  # empty if there is a single one
    sizes: set[int]  # parameters of its adapters; they may differ from task to task
    values: dict[str, dict[Hashable, float]]  # by task, and by seed with the number of its run

    @property
    def seeds(self) -> int:
        """The largest number of runs of a task."""
        return max(map(len, self.values.values()))

    def mean(self, groups: Sequence[Sequence[str]]) -> Mean | None:
        """Return the mean over groups of tasks; None if one of the tasks is missing."""
        runs = dict.fromkeys(run for task in self.values.values() for run in task)
        found = mean_over_groups(self.values, groups, [*runs])
        return found if found and found.tasks == found.of_tasks else None


def _rows(results: Sequence[Result], names: dict[tuple[str, Backbone], str]) -> list[_Row]:
    runs = defaultdict(list)
    for result in results:
        runs[result.method, names[result.method, result.backbone]].append(result)
    return [_row(*key, runs[key]) for key in sorted(runs)]


def _row(method: str, backbone: str, results: Sequence[Result]) -> _Row:
    sizes = {run.adapter_parameters for run in results}
    values = defaultdict(dict)
    counts = Counter()
    for run in results:
        # Two runs of one seed, or of seeds that are not known, both count.
        counts[run.task, run.seed] += 1
        values[run.task][run.seed, counts[run.task, run.seed]] = run.value
    return _Row(method, backbone, sizes, values)


def _table(rows: list[_Row], columns: Sequence[_Column], metric: Metric, title: str) -> str:
    by_name = {(row.method, row.backbone): row for row in rows}
    order = best_first({name: row.values for name, row in by_name.items()}, metric.higher_is_better)
    rows = [by_name[name] for name in order]
    measured = '' if metric == Metric() else f', {metric.title}'
    seeds = {row.seeds for row in rows}
    count = f' ({_count(max(seeds))})' if len(seeds) == 1 else ''
    header = (f'method{count}{title}{measured}', 'backbone', 'seeds', 'adapter parameters')
    table = [(*header, *(column.title for column in columns))]
    table += [_cells(row, columns, metric) for row in rows]
    left_out = [2] if count else []
    if not any(row.backbone for row in rows):
        left_out.append(1)
    table = [[cell for place, cell in enumerate(row) if place not in left_out] for row in table]
    return markdown_table(table, numbers_from=1 + (1 not in left_out))


def _cells(row: _Row, columns: Sequence[_Column], metric: Metric) -> tuple[str, ...]:
    means = [_cell(row, column, metric) for column in columns]
    return (row.method, row.backbone, str(row.seeds), range_text(row.sizes), *means)


def _cell(row: _Row, column: _Column, metric: Metric) -> str:
    found = row.mean(column.groups)
    if found is None:
        return ''
    deviation = found.deviation if column.has_deviation else None
    text = with_deviation(found.value, deviation, partial(metric.number, digits=1))
    fewest = min(len(row.values[task]) for group in column.groups for task in group)
    return f'{text} ({_count(fewest)})' if column.has_deviation and fewest < row.seeds else text


def _count(seeds: int) -> str:
    return f'{seeds} seed' if seeds == 1 else f'{seeds} seeds'
