"""Numbers of a report as comma-separated values, a line each, for other programs."""

from collections.abc import Iterator, Sequence

from memba_vision.reports.collect import Run
from memba_vision.reports.content import Content
from memba_vision.reports.scores import SuiteScores, mean_cost
from memba_vision.reports.text_tables import csv_table
from memba_vision.runs.metrics import Metric

COLUMNS = (
    'suite',
    'method',
    'over',
    'name',
    'top1',
    'deviation',
    'tasks',
    'of_tasks',
    'runs',
    'of_runs',
    'published',
    'adapter_parameters',
    'trained_parameters',
    'training_seconds',
    'peak_memory_mib',
    'not_finished',
)


def as_csv(content: Content) -> str:
    """Return a line for each task, group and average of each method.

    ``over`` is 'task', 'group' or 'average'. Values that are not known are empty; ``not_finished``
    names runs and their states. If runs have several backbones or another metric than top-1,
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
        [*row, *(value(scores) for _, value in beside)]
        for scores in measured
        for row in _suite_rows(scores)
    ]
    return csv_table([[*header, *(name for name, _ in beside)], *rows])


def _suite_rows(scores: SuiteScores) -> Iterator[list[str]]:
    suite = scores.suite
    for method in scores.methods:
        for task in scores.tasks:
            yield _row(scores, method, ('task', task), [task])
        for group, tasks in suite.groups.items():
            if set(tasks) & set(scores.tasks):
                yield _row(scores, method, ('group', group), tasks)
        yield _row(scores, method, ('average', suite.title), tuple(suite.tasks))


def _row(
    scores: SuiteScores, method: str, what: tuple[str, str], tasks: Sequence[str]
) -> list[str]:
    mean = scores.mean(method, tasks)
    measured = [result for result in scores.results(method) if result.task in tasks]
    missing = [run for run in scores.runs if _is_missing(run, method, tasks)]
    known = scores.published(method)
    over, name = what
    key = 'average' if over == 'average' else name.lower()
    costs = [
        mean_cost(measured, lambda result, field=field: getattr(result, field))
        for field in COLUMNS[11:15]
    ]
    values = [
        *((mean.value, mean.deviation) if mean else (None, None)),
        *((mean.tasks, len(tasks), mean.runs, mean.of_runs) if mean else (0, len(tasks), 0, None)),
        getattr(known, key) if known and over != 'task' else None,
        *(cost[0] if cost else None for cost in costs),
    ]
    states = '; '.join(f'{run.name}: {run.state}' for run in missing)
    return [scores.suite.title, method, over, name, *map(_text, values), states]


def _is_missing(run: Run, method: str, tasks: Sequence[str]) -> bool:
    return run.result is None and run.method == method and run.task in tasks


def _text(value: float | None) -> str:
    return '' if value is None else f'{value:.10g}'
