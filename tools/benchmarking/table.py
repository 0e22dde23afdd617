"""Results as sections of a report: a title, what was measured, and a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarking.contest import Contest
from benchmarking.timing import Spread
from memba_vision.reports.text_tables import markdown_table

#: Formatter of a ratio.
Show = Callable[[Spread], str]


@dataclass(frozen=True)
class Section:
    """A table and the words above it.

    Attributes:
        title: heading.
        about: description of the measurement.
        columns: headings of the columns; all but the first hold figures.
        rows: cells, as text.
        notes: lines below the table.
        measurements: the raw figures, ready for JSON.
    """

    title: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    measurements: dict = field(default_factory=dict)

    def as_markdown(self) -> str:
        """The section as Markdown, the columns of its table aligned."""
        table = markdown_table([self.columns, *self.rows], numbers_from=1)
        notes = '\n' + ''.join(f'- {note}\n' for note in self.notes) if self.notes else ''
        return f'## {self.title}\n\n{self.about}\n\n{table}{notes}'


def contest_section(
    title: str,
    about: str,
    contest: Contest,
    references: Mapping[str, str],
    show: Show | None = None,
    images: int | None = None,
) -> Section:
    """A section with a row per contestant.

    Args:
        title: heading.
        about: description of the measurement.
        contest: its outcome.
        references: contestants that the others are compared with, by the column's heading.
        show: formatter of the ratio; :func:`as_factor` by default.
        images: images per call, for a column with images per second.
    """
    show = show or as_factor
    columns = ['what', 'ms', *references]
    columns += ['images/s'] if images else []
    columns += ['peak MB'] if contest.memory else []
    columns += ['repeats', 'first call (s)']
    rows = []
    for name, timing in contest.timings.items():
        row = [name, three_digits(timing.median() * 1e3)]
        row += [_against(contest, name, reference, show) for reference in references.values()]
        row += [three_digits(images / timing.median())] if images else []
        row += [megabytes(contest.memory.get(name))] if contest.memory else []
        rows.append([*row, str(len(timing.rounds)), f'{timing.first_call:.2f}'])
    notes = [f'not measured: {name}: {reason}' for name, reason in contest.absent.items()]
    return Section(title, about, columns, rows, notes, measurements(contest))


def _against(contest: Contest, name: str, reference: str, show: Show) -> str:
    if reference not in contest.timings:
        return ''
    return '1' if name == reference else show(contest.ratio(name, reference))


def measurements(contest: Contest) -> dict:
    """The raw figures of a contest, ready for JSON; times in seconds."""
    figures = {name: {'absent': reason} for name, reason in contest.absent.items()}
    for name, timing in contest.timings.items():
        figures[name] = dict(first_call=timing.first_call, rounds=timing.rounds)
        if name in contest.memory:
            figures[name]['peak_bytes'] = contest.memory[name]
    return figures


def as_factor(spread: Spread) -> str:
    """A ratio and its quartiles: ``'5.61 (5.42 to 5.90)'``."""
    text = three_digits(spread.median)
    if spread.count == 1:
        return text
    return f'{text} ({three_digits(spread.low)} to {three_digits(spread.high)})'


def as_percent(spread: Spread) -> str:
    """Return a ratio's excess over one, with quartiles: ``'+2.1 % (+1.5 to +2.9)'``."""
    median, low, high = ((value - 1) * 100 for value in (spread.median, spread.low, spread.high))
    text = f'{median:+.1f} %'
    return text if spread.count == 1 else f'{text} ({low:+.1f} to {high:+.1f})'


def three_digits(value: float) -> str:
    """A number with three digits that count, or all before the point: 0.0123, 1.23, 39,512."""
    if value == 0 or value >= 100:
        return f'{value:,.0f}'
    digits = 2
    while value < 10 ** (2 - digits):
        digits += 1
    return f'{value:.{digits if value < 10 else 1}f}'


def megabytes(count: int | None) -> str:
    """Bytes as millions of them; empty for None."""
    return '' if count is None else f'{count / 1e6:,.0f}'
