"""Tables of a report, before they have a format."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from memba_vision.reports.scores import SuiteScores, mean_cost
from memba_vision.reports.statistics import Mean, part_of
from memba_vision.reports.text_tables import range_text, with_deviation
from memba_vision.runs.metrics import TOP1
from memba_vision.runs.result import Result
from memba_vision.zoo.methods import architecture_title

NOTHING = '\N{EN DASH}'


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: its text.
        order: key for sorting; None sorts it to the end.
        best: True if nothing in its column is better.
        remark: remark on missing runs.
        published: the published figure.
    """

    text: str
    order: float | None = None
    best: bool = False
    remark: str = ''
    published: str = ''


@dataclass(frozen=True)
class Table:
    """A table whose first column names the method; the others are numbers."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def summary_table(scores: SuiteScores) -> Table:
    """Make a row per method: its size, the means of groups and of all tasks, and its cost."""
    groups = scores.groups if len(scores.groups) > 1 else {}
    accuracies = [_column(scores, tasks, 2, group) for group, tasks in groups.items()]
    accuracies.append(_column(scores, scores.tasks, 2, 'average'))
    averages = ('average', 'average of groups') if groups else ('average',)
    if groups:
        accuracies.append(_best_marked(scores, [*map(scores.mean_of_groups, scores.methods)], 2))
    columns = [
        _per_method(scores, lambda results: _sizes(r.adapter_parameters for r in results)),
        _per_method(scores, lambda results: _sizes(r.trained_parameters for r in results)),
        *accuracies,
        _per_method(scores, _training_time),
        _per_method(scores, _peak_memory),
    ]
    measures = ('adapter parameters', 'trained parameters')
    costs = ('training time (min)', 'peak memory (MiB)')
    header = ('method', *measures, *group_titles(scores, groups), *averages, *costs)
    caption = f'{_title(scores)}, means over {tasks_in_words(scores)}; {seeds_in_words(scores)}'
    if any(cell.published for column in accuracies for cell in column):
        title = architecture_title(scores.backbone.arch)
        caption += f'; in brackets what is published for {title}'
    return Table(f'{scores.title}: means', caption, header, _rows(scores, columns))


def group_titles(scores: SuiteScores, groups: Iterable[str]) -> list[str]:
    """Return headings of groups, with the number of tasks where some were left out."""
    return [part_of(group, scores.groups[group], scores.suite.groups[group]) for group in groups]


def tasks_in_words(scores: SuiteScores) -> str:
    """Return the number of tasks that a mean is over, and of the suite's if these are more."""
    measured, of_all = len(scores.tasks), len(scores.suite.tasks)
    of = '' if measured == of_all else f' of {of_all}'
    return '1 task' + of if measured == 1 else f'{measured}{of} tasks'


def task_table(scores: SuiteScores) -> Table:
    """Make a row per method: its value of each task."""
    columns = [_column(scores, [task], 1) for task in scores.tasks]
    caption = f'{_title(scores)} task by task; {seeds_in_words(scores)}'
    name = f'{scores.title}: tasks'
    return Table(name, caption, ('method', *scores.tasks), _rows(scores, columns))


def _title(scores: SuiteScores) -> str:
    title = scores.metric.title
    return title[0].upper() + title[1:] if scores.metric.name == TOP1 else title


def seeds_in_words(scores: SuiteScores) -> str:
    """Explain the deviation, or its absence."""
    if len(scores.seeds) == 1:
        return 'one seed, hence no deviation'
    return f'mean ± standard deviation over {len(scores.seeds)} seeds'


def _rows(scores: SuiteScores, columns: list[list[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    names = [Cell(method) for method in scores.methods]
    return tuple(zip(names, *columns, strict=True))


def _column(
    scores: SuiteScores, tasks: Sequence[str], digits: int, figure: str | None = None
) -> list[Cell]:
    """Return the values of all methods, with the best ones marked.

    Args:
        scores: the measured values.
        tasks: the tasks to average.
        digits: see :meth:`memba_vision.runs.metrics.Metric.number`.
        figure: 'average' or the group, whose published mean is shown too.
    """
    means = [scores.mean(method, tasks) for method in scores.methods]
    return _best_marked(scores, means, digits, figure)


def _best_marked(
    scores: SuiteScores, means: Sequence[Mean | None], digits: int, figure: str | None = None
) -> list[Cell]:
    published = [
        scores.published_mean(method, figure) if figure else None for method in scores.methods
    ]
    numbers = partial(scores.metric.number, digits=digits)
    cells = [_mean_cell(*pair, numbers) for pair in zip(means, published, strict=True)]
    complete = [mean is not None and mean.complete for mean in means]
    rounded = [float(numbers(m.value)) if m else None for m in means]
    best = scores.metric.best(v for v, whole in zip(rounded, complete, strict=True) if whole)
    # Rounded as printed, so that methods that tie are all the best.
    return [
        replace(cell, best=whole and value == best)
        for cell, value, whole in zip(cells, rounded, complete, strict=True)
    ]


def _mean_cell(mean: Mean | None, published: float | None, number: Callable[[float], str]) -> Cell:
    beside = '' if published is None else f'{published:.2f}'
    if mean is None:
        return Cell(NOTHING, published=beside)
    text = with_deviation(mean.value, mean.deviation, number)
    return Cell(text, mean.value, remark=mean.remark(), published=beside)


def _per_method(scores: SuiteScores, cell: Callable[[list[Result]], Cell]) -> list[Cell]:
    found = [scores.results(method) for method in scores.methods]
    return [cell(results) if results else Cell(NOTHING) for results in found]


def _sizes(sizes: Iterable[int]) -> Cell:
    sizes = set(sizes)
    return Cell(range_text(sizes), max(sizes))


def _training_time(results: list[Result]) -> Cell:
    return _cost_cell(results, lambda result: result.training_seconds, 1 / 60, '.1f')


def _peak_memory(results: list[Result]) -> Cell:
    return _cost_cell(results, lambda result: result.peak_memory_mib, 1, ',.0f')


def _cost_cell(
    results: list[Result], cost: Callable[[Result], float | None], unit: float, form: str
) -> Cell:
    found = mean_cost(results, cost)
    if found is None:
        return Cell('unknown')
    value, known = found
    remark = '' if known == len(results) else f'of {known} of {len(results)} runs'
    return Cell(format(value * unit, form), value, remark=remark)
