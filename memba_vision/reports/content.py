"""What a report says, in no format yet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from memba_vision.reports.collect import Run
from memba_vision.reports.figures import FigureOfReport, figures
from memba_vision.reports.scores import SuiteScores, scores_by_suite
from memba_vision.reports.tables import Table, summary_table, task_table
from memba_vision.runs.result import Result

HOW_TO_READ = (
    'A mean over tasks gives each task the same weight, whatever its group; groups likewise.',
    'A task counts with its mean over seeds. A deviation (with n - 1) is that of the means over '
    'tasks from seed to seed, of the seeds that have all of the tasks.',
    'A mean of fewer tasks or runs than the others says so, and is never the best in bold. Bold is '
    'the best as printed, so that ties are bold together.',
    'Training time and peak memory are means over runs: the time that led to the weights, with '
    'saving and validation, over all starts of a run; GPU memory that torch allocated, or without a'
    ' GPU the resident memory of the process. Times compare on one and the same machine alone.',
)


SEVERAL_BACKBONES = 'Each backbone has tables of its own: nothing is averaged over two of them.'


@dataclass(frozen=True)
class Section:
    """The part of a report on one suite, backbone and metric."""

    scores: SuiteScores
    baseline: str
    tables: tuple[Table, ...]
    figures: tuple[FigureOfReport, ...]


@dataclass(frozen=True)
class Content:
    """A report.

    Attributes:
        title: the heading.
        runs: all runs.
        sections: one per suite, backbone and metric.
        notes: how to read it, and what was left out.
    """

    title: str
    runs: tuple[Run, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]

    @property
    def results(self) -> list[Result]:
        """What the finished runs measured."""
        return [run.result for run in self.runs if run.result]

    @property
    def open_runs(self) -> list[Run]:
        """Runs without a result."""
        return [run for run in self.runs if run.result is None]

    def summary(self) -> str:
        """How many runs there are, by what became of them."""
        states = Counter(run.state for run in self.runs)
        parts = [f'{count} {state}' for state, count in states.items()]
        return f'{len(self.runs)} runs: {", ".join(parts)}.'


def make_content(
    title: str, runs: Sequence[Run], remarks: Sequence[str], baseline: str | None
) -> Content:
    """Tables and figures of runs.

    Args:
        title: the heading.
        runs: at least one of them finished.
        remarks: what a reader has to know of how the runs were chosen.
        baseline: the method that others are compared with; None: a usual one.
    """
    measured = [s for s in scores_by_suite(runs) if any(run.result for run in s.runs)]
    sections = [_section(scores, baseline) for scores in measured]
    several = len({run.backbone_name for run in runs}) > 1
    notes = (*HOW_TO_READ, *([SEVERAL_BACKBONES] if several else []), *remarks)
    return Content(title, tuple(runs), tuple(sections), notes)


def _section(scores: SuiteScores, wanted: str | None) -> Section:
    baseline = scores.baseline(wanted)
    tables = (summary_table(scores), task_table(scores))
    return Section(scores, baseline, tables, tuple(figures(scores, baseline)))


def describe_run(run: Run) -> str:
    """A run without a result, in one line."""
    reason = ' '.join(run.message.split())
    return f'{run.name}: {run.state}' + (f', {reason}' if reason else '')
