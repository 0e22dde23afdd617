"""Table of what methods gain or lose against a baseline."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from memba_vision.reports.comparisons import Comparison, unpaired_in_words
from memba_vision.reports.differences import Difference
from memba_vision.reports.scores import SuiteScores
from memba_vision.reports.tables import NOTHING, Cell, Table, group_titles, tasks_in_words
from memba_vision.reports.text_tables import signed
from memba_vision.runs.metrics import Metric


def difference_table(
    scores: SuiteScores, baseline: str, comparisons: Sequence[Comparison]
) -> Table:
    """Make a row per method: its advantage by group and on average, with intervals and p values."""
    groups = scores.groups if len(scores.groups) > 1 else {}
    rows = [
        (
            Cell(one.method),
            *(_cell(one.by_group[group], scores.metric) for group in groups),
            _cell(one.average, scores.metric),
            _p_cell(one.average.p),
            _p_cell(one.holm),
        )
        for one in comparisons
    ]
    known = sum(one.average.p is not None for one in comparisons)
    header = ('method', *group_titles(scores, groups), 'average', 'p', f'p of {known} (Holm)')
    unit = 'points' if scores.metric.name == Metric().name else scores.metric.name
    caption = (
        f'Advantage over {baseline} in {unit}, means over {tasks_in_words(scores)} of paired runs, '
        'in brackets 95 % confidence intervals'
    )
    name = f'{scores.title}: differences to {baseline}'
    return Table(name, caption, header, tuple(rows), _notes(scores, comparisons))


def _cell(difference: Difference | None, metric: Metric) -> Cell:
    if difference is None:
        return Cell(NOTHING, remark='no pair')
    number = partial(signed, number=partial(metric.number, digits=2))
    text = number(difference.value)
    if difference.low is not None:
        text += f' [{number(difference.low)}, {number(difference.high)}]'
    return Cell(text, difference.value, remark=difference.remark())


def _p_cell(p: float | None) -> Cell:
    if p is None:
        return Cell(NOTHING)
    return Cell('< 0.001' if p < 0.001 else f'{p:.3f}', p)


def _notes(scores: SuiteScores, comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Name the pairs that are missing; methods that lack the same ones together."""
    methods = defaultdict(list)
    for one in comparisons:
        if one.average.unpaired:
            methods[unpaired_in_words(one.average, scores.tasks)].append(one.method)
    return tuple(f'{", ".join(same)}: no pair of {what}' for what, same in methods.items())
