"""Order of methods in their measured means beside that in a published table."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from scipy.stats import rankdata

from memba_vision.datasets.benchmarks import BENCHMARKS
from memba_vision.errors import UserError
from memba_vision.reports.ranks import FEWEST, RankCorrelation, rank_correlation
from memba_vision.reports.scores import SuiteScores
from memba_vision.reports.text_tables import MINUS, markdown_table
from memba_vision.zoo.methods import Published, all_methods, architecture_title

#: Methods that train the backbone itself, and profit most where a world is easy to learn anew.
WITHOUT_ADAPTERS = ('full_fine_tuning', 'scratch')
GROUPS = tuple(map(str.lower, BENCHMARKS['vtab1k'].groups))  # of published results
SHOWN = 8  # methods whose places differ most


class _Pair(NamedTuple):
    """A method in both tables."""

    method: str
    measured: float
    order: float  # the same, or its negative where lower is better
    published: float


def rank_tables(measured: Sequence[SuiteScores], arch: str) -> str:
    """Return the rank correlations with the published table, and the methods that it ranks apart.

    A method counts if it was published, and measured on all tasks of the suite. Groups are compared
    too, where the suite has those of VTAB-1k.

    Args:
        measured: the measured values of one or more suites; those with fewer than three such
            methods have a sentence in place of tables.
        arch: the architecture whose published results are compared, as ``vim_small``.

    Returns:
        Two tables in Markdown for each suite, with its title if there are several.

    Raises:
        UserError: nothing was published for the architecture, or all suites have too few methods.
    """
    published = published_for(arch)
    parts, too_few = [], []
    for scores in measured:
        pairs = _pairs(scores, published, tuple(scores.suite.tasks), 'average')
        if len(pairs) >= FEWEST:
            title = f'{scores.title}\n\n' if len(measured) > 1 else ''
            parts.append(title + _tables(scores, published, pairs, arch))
        else:
            too_few.append(
                f'{scores.title}: {len(pairs)} of the {len(published)} methods that are published '
                f'for {architecture_title(arch)} were measured on all {len(scores.suite.tasks)} '
                f'tasks, and ranks need {FEWEST}'
            )
    if not parts:
        raise UserError('; '.join(too_few))
    return '\n'.join([*parts, *(f'{reason}.\n' for reason in too_few)])


def _tables(
    scores: SuiteScores, published: dict[str, Published], pairs: Sequence[_Pair], arch: str
) -> str:
    header = ('means over', 'methods', 'number', "Spearman's rho", '95 % interval')
    rows = list(_rows('all tasks', pairs))
    for group, tasks in scores.suite.groups.items():
        if group.lower() in GROUPS:
            rows += _rows(group, _pairs(scores, published, tasks, group.lower()))
    return f'{markdown_table([header, *rows], 2)}\n{_apart(pairs, scores, arch)}'


def published_for(arch: str) -> dict[str, Published]:
    """Return what is published for an architecture by preset.

    Raises:
        UserError: nothing is.
    """
    found = {m.preset: m.published[arch] for m in all_methods() if arch in m.published}
    if not found:
        known = sorted({arch for method in all_methods() for arch in method.published})
        raise UserError(f'--ranks {arch}: nothing is published for it; there is {", ".join(known)}')
    return found


def _pairs(
    scores: SuiteScores, published: dict[str, Published], tasks: Sequence[str], figure: str
) -> list[_Pair]:
    sign = 1 if scores.metric.higher_is_better else -1
    order = [*published]  # draws of the bootstrap go by places, which results do not change
    methods = [method for method in scores.methods if method in order]
    found = []
    for method in sorted(methods, key=lambda method: (order.index(method), method)):
        mean, known = scores.mean(method, tasks), published[method]
        if mean and mean.tasks == mean.of_tasks:
            found.append(_Pair(method, mean.value, sign * mean.value, getattr(known, figure)))
    return found


def _rows(over: str, pairs: Sequence[_Pair]) -> Iterator[tuple[str, ...]]:
    """Yield the correlation of all methods, and of those with adapters."""
    left_out = [p.method for p in pairs if p.method in WITHOUT_ADAPTERS]
    yield over, 'all', *_cells(pairs)
    if left_out:
        rest = [pair for pair in pairs if pair.method not in left_out]
        yield over, f'without {", ".join(left_out)}', *_cells(rest)


def _cells(pairs: Sequence[_Pair]) -> tuple[str, str, str]:
    found = rank_correlation([p.order for p in pairs], [p.published for p in pairs])
    return (str(len(pairs)), *(_texts(found) if found else ('', '')))


def _texts(found: RankCorrelation) -> tuple[str, str]:
    rho, low, high = (
        f'{number:.2f}'.replace('-', MINUS) for number in (found.rho, found.low, found.high)
    )
    return rho, f'{low} to {high}'


def _apart(pairs: Sequence[_Pair], scores: SuiteScores, arch: str) -> str:
    """Return the methods whose places differ most; place 1 is the best."""
    ours = rankdata([-pair.order for pair in pairs])
    theirs = rankdata([-pair.published for pair in pairs])
    apart = sorted(
        zip(pairs, ours, theirs, strict=True), key=lambda row: (-abs(row[1] - row[2]), row[1])
    )
    header = ('method', scores.suite.title, 'place', f'published for {architecture_title(arch)}')
    rows = [
        (
            pair.method,
            scores.metric.number(pair.measured, 1),
            f'{here:g}',
            f'{pair.published:.2f}',
            f'{there:g}',
            f'{there - here:+g}'.replace('-', MINUS),
        )
        for pair, here, there in apart[:SHOWN]
    ]
    return markdown_table([(*header, 'place', 'places better here'), *rows], 1)
