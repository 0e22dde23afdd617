"""Content of a report, before it has a format."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from memba_vision.reports.collect import Run
from memba_vision.reports.comparisons import Comparison, compare
from memba_vision.reports.difference_table import difference_table
from memba_vision.reports.figures import FigureOfReport, figures
from memba_vision.reports.scores import SuiteScores, scores_by_suite
from memba_vision.reports.tables import Table, summary_table, task_table
from memba_vision.runs.result import Result

HOW_TO_READ = (
    'The average gives each task the same weight, whatever its group; the average of groups gives '
    'each group the same, and within it each task.',
    'A task counts with its mean over seeds. A deviation (with n - 1) is that of the means over '
    'tasks from seed to seed, of the seeds that have all of the tasks.',
    'A mean of fewer tasks or runs than the others says so, and is never the best in bold. Bold is '
    'the best as printed, so that ties are bold together.',
    'Differences are of runs with the same task and seed. Their intervals, and p values of no '
    "difference, are by Student's t distribution over the means of tasks: they are for other such "
    'tasks, with the noise between seeds in them; those of a single task are over its seeds. '
    "Holm's p is adjusted for the number of methods with a p in the table.",
    'Training time and peak memory are means over runs: the time that led to the weights, with '
    'saving and validation, over all starts of a run; GPU memory that torch allocated, or without a'
    ' GPU the resident memory of the process. Times compare on one and the same machine alone.',
)


SEVERAL_BACKBONES = 'Each backbone has tables of its own: nothing is averaged over two of them.'

NAMED_RUNS = 20  # runs without a result, and remarks, that the terminal names


@dataclass(frozen=True)
class Section:
    """Part of a report on one suite, backbone and metric."""

    scores: SuiteScores
    baseline: str
    tables: tuple[Table, ...]
    comparisons: tuple[Comparison, ...]

    @cached_property
    def figures(self) -> list[FigureOfReport]:
        """Figures, which are drawn when they are first asked for."""
        return figures(self.scores, self.baseline, self.comparisons)


@dataclass(frozen=True)
class Content:
    """Content of a report.

    Attributes:
        title: the heading.
        runs: all runs.
        sections: one per suite, backbone and metric.
        notes: notes on how to read it.
        remarks: remarks on the choice of the runs.
    """

    title: str
    runs: tuple[Run, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def results(self) -> list[Result]:
        """Results of the finished runs."""
        return [run.result for run in self.runs if run.result]

    @property
    def open_runs(self) -> list[Run]:
        """Runs without a result, those that failed first, then by state."""
        states = list(dict.fromkeys(['failed', *(run.state for run in self.runs)]))
        found = [run for run in self.runs if run.result is None]
        return sorted(found, key=lambda run: states.index(run.state))

    def summary(self) -> str:
        """Return the number of runs in each state."""
        return f'{len(self.runs):,} runs: {_states(self.runs)}.'

    def open_summary(self) -> str:
        """Return the number of runs without a result, by state."""
        found = self.open_runs
        return f'{len(found):,} of {len(self.runs):,} runs have no result: {_states(found)}'

    def open_lines(self) -> list[str]:
        """Return a line for each run without a result; of very many the first ones."""
        return _first_lines('not finished', [describe_run(run) for run in self.open_runs])

    def remark_lines(self) -> list[str]:
        """Return a line for each remark; of very many the first ones."""
        return _first_lines('note', self.remarks)


def _first_lines(word: str, lines: Sequence[str]) -> list[str]:
    shown = [f'{word}: {line}' for line in lines[:NAMED_RUNS]]
    rest = len(lines) - NAMED_RUNS
    return [*shown, f'{word}: {rest:,} more, see report.md'] if rest > 0 else shown


def _states(runs: Sequence[Run]) -> str:
    states = Counter(run.state for run in runs)
    return ', '.join(f'{count:,} {state}' for state, count in states.items())


def make_content(
    title: str, runs: Sequence[Run], remarks: Sequence[str], baseline: str | None
) -> Content:
    """Make tables and figures of runs.

    Args:
        title: the heading.
        runs: the runs, at least one of which is finished.
        remarks: remarks on the choice of the runs.
        baseline: the method that others are compared with; None stands for a usual one.
    """
    measured = [s for s in scores_by_suite(runs) if any(run.result for run in s.runs)]
    sections = [_section(scores, baseline) for scores in measured]
    several = len({run.backbone_name for run in runs}) > 1
    notes = (*HOW_TO_READ, *([SEVERAL_BACKBONES] if several else []))
    return Content(title, tuple(runs), tuple(sections), notes, tuple(remarks))


def _section(scores: SuiteScores, wanted: str | None) -> Section:
    baseline = scores.baseline(wanted)
    tables = [summary_table(scores), task_table(scores)]
    comparisons = tuple(compare(scores, baseline))
    if comparisons:
        tables.append(difference_table(scores, baseline, comparisons))
    return Section(scores, baseline, tuple(tables), comparisons)


def describe_run(run: Run) -> str:
    """Describe a run without a result in one line."""
    reason = ' '.join(run.message.split())
    return f'{run.name}: {run.state}' + (f', {reason}' if reason else '')
