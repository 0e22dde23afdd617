"""Display of a sweep: a live table in a terminal, and a line per event elsewhere."""

import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from memba_vision.engine.durations import duration
from memba_vision.sweeps.jobs import Job
from memba_vision.sweeps.progress import Progress
from memba_vision.sweeps.status import STATES, Status

COLOURS = {
    'waiting': 'dim',
    'running': 'cyan',
    'finished': 'green',
    'failed': 'bold red',
    'stopped': 'yellow',
}
COLUMNS = ('run', 'state', 'epoch', 'loss', 'accuracy', 'time left')
LEAST = ('loss', 'epoch', 'accuracy', 'time left')  # columns that a narrow terminal lacks, in order
FEW = 3  # failed runs among those that a small terminal shows
REASON = 40  # characters of a failed run's state and reason
WIDE = 1000  # characters, of a terminal without a limit
OTHER_LINES = 7  # of the terminal, around the rows of the table


@dataclass(frozen=True)
class Row:
    """A run with its state and its progress."""

    job: Job
    status: Status
    progress: Progress = field(default_factory=Progress)


class Console(ABC):
    """Display that a sweep reports to.

    Args:
        terminal: terminal that shows it.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    def begin(self, rows: Sequence[Row]) -> None:
        """Show the beginning of the sweep."""
        self.show(rows)

    @abstractmethod
    def event(self, row: Row, text: str) -> None:
        """Show an event of one run."""

    @abstractmethod
    def show(self, rows: Sequence[Row]) -> None:
        """Show the state of all runs."""

    def say(self, text: str) -> None:
        """Show a message on the whole sweep, with the time."""
        line = f'{time.strftime("%H:%M:%S")} {text}'
        self.terminal.print(line, markup=False, highlight=False, soft_wrap=True)
        self.terminal.file.flush()

    def close(self) -> None:
        """Show the end of the sweep."""
        self.terminal.file.flush()


def open_console(terminal: Terminal | None = None) -> Console:
    """Return a live table for a terminal, and lines for a file, a pipe or a log."""
    terminal = terminal or Terminal()
    return LiveTable(terminal) if terminal.is_terminal else EventLines(terminal)


class EventLines(Console):
    """A line for each event, with the time."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        self.finished: set[str] = set()
        self.total = 0

    def begin(self, rows: Sequence[Row]) -> None:
        """See :class:`Console`."""
        self.total = len(rows)
        self.finished = {row.job.name for row in rows if row.status.state == 'finished'}
        self.say(summary(rows))

    def event(self, row: Row, text: str) -> None:
        """See :class:`Console`."""
        if text == 'finished':
            self.finished.add(row.job.name)
            text = (
                f'finished: {row.status.score} in {duration(row.status.seconds)} '
                f'({len(self.finished)} of {self.total})'
            )
        elif text == 'started' and row.status.tries:
            text = f'started again (try {row.status.tries + 1})'
        self.say(f'{row.job.name} {text}')

    def show(self, rows: Sequence[Row]) -> None:
        """See :class:`Console`. Lines are for events alone."""


class LiveTable(Console):
    """Table that is redrawn in place, below a list of failures."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(terminal)
        # No refreshing thread: Linux ends a run when the thread ends that started it.
        self.live = Live(console=terminal, auto_refresh=False)
        self.live.start()

    def event(self, row: Row, text: str) -> None:
        """See :class:`Console`."""
        if text not in ('started', 'finished'):
            self.say(f'{row.job.name} {text}')

    def show(self, rows: Sequence[Row]) -> None:
        """See :class:`Console`."""
        width, height = self.terminal.size
        drawn = table(rows, max(3, height - OTHER_LINES), width)
        self.live.update(Group(drawn, Text(summary(rows))), refresh=True)

    def close(self) -> None:
        """See :class:`Console`."""
        self.live.stop()


def table(rows: Sequence[Row], height: int, width: int = WIDE) -> Table:
    """Return the runs as a table of at most ``height`` rows and ``width`` characters.

    If not all fit, those that run come first, then a few that failed, with the reason, and then
    the others, the newest first. Columns are left out whole, those that matter least before others.
    """
    shown = list(rows) if len(rows) <= height else urgent(rows, height - 1)
    columns = list(COLUMNS)
    for name in LEAST:
        if _width(shown, columns) > width:
            columns.remove(name)
    result = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        is_text = name in ('run', 'state')
        result.add_column(name, no_wrap=True, justify='left' if is_text else 'right')
    for row in shown:
        texts = _texts(row)
        result.add_row(*(texts[name] for name in columns), style=COLOURS[row.status.state])
    hidden = Counter(row.status.state for row in rows) - Counter(r.status.state for r in shown)
    if hidden:
        result.caption, result.caption_justify = '… and ' + _counts(hidden), 'left'
    return result


def urgent(rows: Sequence[Row], number: int) -> list[Row]:
    """Return the most urgent runs: see :func:`table`."""
    by_state = defaultdict(list)
    for row in rows:
        by_state[row.status.state].append(row)
    for ended in ('finished', 'failed', 'stopped'):
        by_state[ended].sort(key=lambda row: -row.status.ended)
    failed = by_state['failed']
    first = by_state['running'][: max(1, number - min(len(failed), FEW))]
    others = (by_state[state] for state in ('stopped', 'finished', 'waiting'))
    order = [*first, *failed[:FEW], *(row for some in others for row in some), *failed[FEW:]]
    return order[:number]


def _width(rows: Sequence[Row], columns: Sequence[str]) -> int:
    texts = [_texts(row) for row in rows]
    widest = (max(map(cell_len, [name, *(text[name] for text in texts)])) for name in columns)
    return sum(widest) + 2 * len(columns)


def _texts(row: Row) -> dict[str, str]:
    state, *others = cells(row)
    if row.status.state == 'failed' and row.status.message:
        state = f'{state}: {row.status.message}'[:REASON]
    return dict(zip(COLUMNS, [row.job.name, state, *others], strict=True))


def cells(row: Row) -> list[str]:
    """Return state, epoch, loss, accuracy and time left of a run as text."""
    status, progress = row.status, row.progress
    running, (counted, total) = status.state == 'running', row.job.length()
    began = running or progress.done
    unit = ' it' if counted == 'iterations' else ''
    done = total if status.state == 'finished' else progress.done
    so_far = '' if progress.accuracy is None else f'{progress.accuracy:.2f} %'
    left = duration(progress.seconds_left) if running and progress.seconds_left else ''
    if running and total and progress.done >= total:
        left = 'testing'
    elif running and not progress.done:
        left = 'starting'
    if status.state == 'finished':
        left = f'took {duration(status.seconds)}' if status.seconds else ''
    state = f'{status.state}, try {status.tries}' if running and status.tries > 1 else status.state
    return [
        state,
        f'{done}/{total}{unit}' if began or status.state == 'finished' else '',
        f'{progress.loss:.3f}' if progress.loss is not None else '',
        status.score or so_far,
        left,
    ]


def summary(rows: Sequence[Row]) -> str:
    """Return the number of runs in each state, and the time that the rest will take."""
    left = seconds_left(rows)
    text = f'{len(rows)} runs: {_counts(Counter(row.status.state for row in rows))}'
    return f'{text}; about {duration(left)} left' if left else text


def seconds_left(rows: Sequence[Row]) -> float | None:
    """Estimate the time left from finished and running runs; return None if there are none."""
    running = [row for row in rows if row.status.state == 'running']
    waiting = sum(row.status.state == 'waiting' for row in rows)
    took = [r.status.seconds for r in rows if r.status.state == 'finished' and r.status.seconds]
    remaining = [row.progress.seconds_left or 0.0 for row in running]
    if not running or not (took or all(remaining)):
        return None
    each = sum(took) / len(took) if took else max(remaining)
    return max([*remaining, (waiting * each + sum(remaining)) / len(running)])


def _counts(states: Counter) -> str:
    return ', '.join(f'{states[state]} {state}' for state in STATES if states[state])
