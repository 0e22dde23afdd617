"""Summary of a sweep: the table of results, and the runs that are missing in it."""

from collections.abc import Sequence
from pathlib import Path

from memba_vision.files import encode_surrogates, write_atomically
from memba_vision.reports.accuracy_table import short_table
from memba_vision.reports.collect import collect_runs
from memba_vision.sweeps.console import Row
from memba_vision.sweeps.progress import last_lines
from memba_vision.sweeps.supervise import LOG_FILE

LOG_LINES = 5  # shown of a failed run's log


def results_table(folder: Path, rows: Sequence[Row]) -> str:
    """Return the results of all finished runs in a folder in Markdown; '' if there are none."""
    if not any(row.status.state == 'finished' for row in rows):
        return ''
    return short_table([run.result for run in collect_runs(folder)[0] if run.result])


def fitting_table(folder: Path, rows: Sequence[Row], width: int) -> str:
    """Return the table of results, or the name of a file with it if its lines are wider."""
    text = results_table(folder, rows)
    if all(len(line) <= width for line in text.splitlines()):
        return text
    path = folder / 'results.md'
    write_atomically(path, encode_surrogates(text))
    return f'the table of results is wider than the terminal: it is in {path}\n'


def describe_unfinished(rows: Sequence[Row]) -> str:
    """Describe the runs that failed or were stopped, and the remedy; '' if there are none."""
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
    log = last_lines(path) if path.is_file() else []
    lines = [f'    {line.rstrip()}' for line in log if line.strip()][-LOG_LINES:]
    return '\n'.join([f'{row.job.name} failed ({path}):', *lines])


def _runs(rows: Sequence[Row]) -> str:
    return '1 run' if len(rows) == 1 else f'{len(rows)} runs'
