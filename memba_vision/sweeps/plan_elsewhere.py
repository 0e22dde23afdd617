"""Forecast of a sweep that is measured where its runs will be: on a node of a cluster."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memba_vision.errors import UserError
from memba_vision.package_data import package_data_folder
from memba_vision.sweeps.executors import Attempt, Ended, Executor
from memba_vision.sweeps.supervise import LOG_FILE, RESULT_FILE, last_words, read_status

PAUSE = 0.5  # seconds between two looks


@dataclass(frozen=True)
class Errand:
    """Command that an executor takes for a run.

    Attributes:
        name: its name in the queue.
        folder: its folder, for log, status and result.
        arguments: the command line of tools/sweep.py.
    """

    name: str
    folder: Path
    arguments: tuple[str, ...]

    def command(self, processes: int = 1) -> list[str]:
        """See :meth:`memba_vision.sweeps.jobs.Job.command`."""
        tool = package_data_folder() / 'tools' / 'sweep.py'
        return [sys.executable, str(tool), *self.arguments]


def plan_elsewhere(executor: Executor, arguments: Sequence[str], folder: Path) -> str:
    """Have a node measure, and return what it says.

    Args:
        executor: takes the measurement for a run, with the cores and GPUs of one.
        arguments: the command line of this sweep.
        folder: the sweep's folder, beside which there is one for the measurement meanwhile.

    Raises:
        UserError: the measurement failed.
    """
    own = folder.absolute().with_name(f'.{folder.name}.plan')
    shutil.rmtree(own, ignore_errors=True)  # of an interrupted call
    own.mkdir(parents=True)
    # Of an option that is given twice the second counts.
    changed = ('--executor', 'local', '--plan-to', str(own))
    attempt = executor.start(Errand(f'plan_{folder.name}', own, (*arguments, *changed)))
    try:
        ended = _wait(attempt)
        text = _read(own)
        if not text:
            raise UserError(f'the measurement for --plan failed: {_reason(own, ended)}')
        return text
    except BaseException:
        attempt.stop()
        raise
    finally:
        shutil.rmtree(own, ignore_errors=True)


def write_plan(folder: Path, text: str) -> None:
    """Leave a forecast for :func:`plan_elsewhere`."""
    (folder / RESULT_FILE).write_text(json.dumps({'plan': text}), encoding='utf-8')


def _wait(attempt: Attempt) -> Ended:
    while (ended := attempt.poll()) is None:
        time.sleep(PAUSE)
    return ended


def _read(folder: Path) -> str:
    try:
        return json.loads((folder / RESULT_FILE).read_text(encoding='utf-8'))['plan']
    except OSError:
        return ''


def _reason(folder: Path, ended: Ended) -> str:
    log = folder / LOG_FILE
    said = last_words(log.read_text(errors='replace')) if log.is_file() else ''
    noted = read_status(str(folder)).get('message', '')
    return ended.message or noted or said or f'it ended with status {ended.status}'
