"""Numbers of a report as comma-separated values, a line each, for other programs."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from memba_vision.files import csv_table
from memba_vision.reports.collect import Run
from memba_vision.reports.comparisons import Comparison, unpaired_in_words
from memba_vision.reports.content import Content, Section
from memba_vision.reports.differences import Difference, half_width
from memba_vision.reports.scores import SuiteScores, mean_cost
from memba_vision.reports.statistics import Mean
from memba_vision.runs.metrics import Metric

COSTS = ('adapter_parameters', 'trained_parameters', 'training_seconds', 'peak_memory_mib')
#: With the method that the section's others are compared with.
COMPARED = (
    'baseline',
    'difference',
    'difference_low',
    'difference_high',
    'p',
    'p_holm',
    'pairs',
    'of_pairs',
    'no_pair',
)
COLUMNS = (
    'suite',
    'method',
    'over',
    'name',
    'top1',
    'deviation',
    'low',
    'high',
    'tasks',
    'of_tasks',
    'runs',
    'of_runs',
    'published',
    *COSTS,
    'not_finished',
    *COMPARED,
)


def as_csv(content: Content) -> str:
    """Return a line for each task, group and average of each method.

    ``over`` is 'task', 'group', 'average', or 'groups' for the mean of several groups' means.
    ``low`` and ``high`` are the ends of the mean's 95 % confidence interval over seeds, the tasks
    being given; those of the difference are over tasks, or of a single task over seeds. Values that
    are not known are empty; ``not_finished`` names runs and their states, ``no_pair`` the pairs
    that are missing. If runs have several backbones or another metric than top-1,
    further columns name them, and ``value`` is that of the metric.
    """
    measured = [section.scores for section in content.sections]
    header, beside = list(COLUMNS), []
    if len({scores.runs[0].backbone_name for scores in measured}) > 1:
        beside.append(('backbone', lambda scores: scores.runs[0].backbone_name))
    if any(scores.metric != Metric() for scores in measured):
        header[header.index('top1')] = 'value'
        beside.append(('metric', lambda scores: scores.metric.label))
        beside.append(('higher_is_better', lambda scores: str(scores.metric.higher_is_better)))
    rows = [
        [*row, *(value(section.scores) for _, value in beside)]
        for section in content.sections
        for row in _section_rows(section)
    ]
    return csv_table([[*header, *(name for name, _ in beside)], *rows])


class _Line(NamedTuple):
    """A mean of a method, and its advantage over the baseline."""

    over: str
    name: str
    tasks: Sequence[str]
    mean: Mean | None
    difference: Difference | None = None
    holm: float | None = None


def _section_rows(section: Section) -> Iterator[list[str]]:
    compared = {one.method: one for one in section.comparisons}
    for method in section.scores.methods:
        for line in _lines(section.scores, method, compared.get(method)):
            yield _measured(section.scores, method, line) + _compared(section.baseline, line)


def _lines(scores: SuiteScores, method: str, one: Comparison | None) -> Iterator[_Line]:
    for task in scores.tasks:
        yield _Line('task', task, [task], scores.mean(method, [task]), one and one.by_task[task])
    for group, tasks in scores.groups.items():
        yield _Line('group', group, tasks, scores.mean(method, tasks), one and one.by_group[group])
    tasks, title = scores.tasks, scores.suite_title
    advantage = (one.average, one.holm) if one else ()
    yield _Line('average', title, tasks, scores.mean(method, tasks), *advantage)
    if len(scores.groups) > 1:
        yield _Line('groups', title, tasks, scores.mean_of_groups(method))


def _measured(scores: SuiteScores, method: str, line: _Line) -> list[str]:
    """Return the cells of ``COLUMNS`` up to those of ``COMPARED``."""
    mean, of_tasks = line.mean, len(line.tasks)
    measured = [result for result in scores.results(method) if result.task in line.tasks]
    missing = [run for run in scores.runs_of[method] if _is_missing(run, line.tasks)]
    over = {'group': line.name, 'average': 'average'}.get(line.over)
    costs = [
        mean_cost(measured, lambda result, field=field: getattr(result, field)) for field in COSTS
    ]
    values = [
        *((mean.value, mean.deviation, *_ends(mean, len(scores.seeds))) if mean else [None] * 4),
        *((mean.tasks, of_tasks, mean.runs, mean.of_runs) if mean else (0, of_tasks, 0, None)),
        scores.published_mean(method, over) if over else None,
        *(cost[0] if cost else None for cost in costs),
    ]
    states = '; '.join(f'{run.name}: {run.state}' for run in missing)
    return [scores.suite.title, method, line.over, line.name, *map(_text, values), states]


def _compared(baseline: str, line: _Line) -> list[str]:
    """Return the cells of ``COMPARED``."""
    found = line.difference
    if found is None:
        return [''] * len(COMPARED)
    values = (found.value, found.low, found.high, found.p, line.holm, found.pairs, found.of_pairs)
    return [baseline, *map(_text, values), unpaired_in_words(found, line.tasks)]


def _ends(mean: Mean, seeds: int) -> tuple[float | None, float | None]:
    """Return the ends of a mean's confidence interval over seeds; those of a part are not known."""
    if mean.deviation is None or not mean.complete:
        return None, None
    half = half_width(mean.deviation, seeds)
    return mean.value - half, mean.value + half


def _is_missing(run: Run, tasks: Sequence[str]) -> bool:
    return run.result is None and run.task in tasks


def _text(value: float | None) -> str:
    return '' if value is None else f'{value:.10g}'
