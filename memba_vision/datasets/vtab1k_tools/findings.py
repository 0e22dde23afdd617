"""Findings of a check, and their text."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from memba_vision.datasets.tasks import Task

MISSING, WRONG, NOTE = 'missing', 'wrong', 'note'


@dataclass(frozen=True)
class Finding:
    """Fact about a task that is MISSING, WRONG or worth a NOTE, with advice."""

    level: str
    text: str
    advice: str


@dataclass
class TaskReport:
    """Findings of one task.

    Attributes:
        task: the task.
        images: number of files that its lists name.
        formats: number of files of each format; lossy ones are marked.
        pixels: one line with the number of images of each kind, and their sizes.
        manifest: state of the manifest: written, verified, differs or not written.
        findings: the faults and notes.
    """

    task: Task
    images: int = 0
    formats: Counter = field(default_factory=Counter)
    pixels: str = ''
    manifest: str = '-'
    findings: list[Finding] = field(default_factory=list)

    def add(self, level: str, text: str, advice: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(level, text, advice))

    @property
    def verdict(self) -> str:
        """The worst level, 'missing' or 'wrong'; else 'right'. Notes do not count."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in (MISSING, WRONG) if level in levels), 'right')


def as_text(reports: Sequence[TaskReport]) -> str:
    """Return a table of the tasks, a line on the pixels of each, all findings and a summary."""
    rows = [('task', 'images', 'formats', 'manifest', 'verdict')]
    rows += [_row(report) for report in reports]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_pad(row, widths) for row in rows]
    lines += ['', *(f'{report.task.name}: {report.pixels}' for report in reports if report.pixels)]
    for report in reports:
        for finding in report.findings:
            lines += ['', f'{report.task.name}: {finding.level}: {finding.text}']
            lines.append(f'    {finding.advice}')
    count = Counter(report.verdict for report in reports)
    total = f'{count["right"]} of {len(reports)} tasks are right'
    rest = [f'{count[level]} {level}' for level in (WRONG, MISSING) if count[level]]
    return '\n'.join([*lines, '', ', '.join([total, *rest]), ''])


def _row(report: TaskReport) -> tuple[str, ...]:
    formats = ', '.join(f'{kind} {count:,}' for kind, count in report.formats.most_common())
    images = f'{report.images:,}' if report.images else '-'
    return report.task.name, images, formats or '-', report.manifest, report.verdict


def _pad(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(row, widths, strict=True)
    padded = [c.rjust(w) if i == 1 else c.ljust(w) for i, (c, w) in enumerate(cells)]
    return '  '.join(padded).rstrip()
