"""How a sweep ended: the table of results, and what is missing in it."""

from collections.abc import Sequence
from pathlib import Path

from memba_vision.reports.accuracy_table import accuracy_table
from memba_vision.runs.result_files import collect
from memba_vision.sweeps.console import Row
from memba_vision.sweeps.supervise import LOG_FILE

LOG_LINES = 5  # of a failed run's log that are shown
LOG_END = 1 << 13  # bytes


def results_table(folder: Path, rows: Sequence[Row]) -> str:
    """The results of all finished runs in the sweep's folder, in Markdown; '' without any."""
    if not any(row.status.state == 'finished' for row in rows):
        return ''
    return accuracy_table(collect(folder))


def describe_unfinished(rows: Sequence[Row]) -> str:
    """A paragraph per run that failed or was stopped, and what to do about them; '' for none."""
    failed = [row for row in rows if row.status.state == 'failed']
    open_runs = [row for row in rows if row.status.state not in ('failed', 'finished')]
    parts = [_describe_failure(row) for row in failed]
    if failed:
        parts.append(
            f'{_runs(failed)} failed: mend the cause, then give the same command with '
            '--retry-failed'
        )
    if open_runs:
        lines = [f'{row.job.name}: {row.status.message}' for row in open_runs if row.status.message]
        text = f'{_runs(open_runs)} not finished: the same command goes on'
        parts.append('\n'.join([*lines, text]))
    return '\n\n'.join(parts)


def _describe_failure(row: Row) -> str:
    path = row.job.folder / LOG_FILE
    lines = [f'    {line}' for line in last_lines(path)]
    return '\n'.join([f'{row.job.name} failed ({path}):', *lines])


def last_lines(path: Path) -> list[str]:
    """The end of a log; what the status says of it is in there."""
    try:
        with path.open('rb') as file:
            file.seek(max(0, path.stat().st_size - LOG_END))
            text = file.read().decode(errors='replace')
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-LOG_LINES:]


def _runs(rows: Sequence[Row]) -> str:
    return '1 run' if len(rows) == 1 else f'{len(rows)} runs'
