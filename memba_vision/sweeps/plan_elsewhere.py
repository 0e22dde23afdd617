"""Forecast of a sweep that is measured where its runs will be: on a node of a cluster."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from memba_vision.errors import UserError
from memba_vision.package_data import package_data_folder
from memba_vision.sweeps.executors import Ended, Executor
from memba_vision.sweeps.supervise import LOG_FILE, last_words, read_status

PLAN_FILE = 'plan.json'  # no result of a run, for which a report would take it
PAUSE = 0.5  # seconds between two looks


@dataclass(frozen=True)
class Errand:
    """Command that an executor takes for a run.

    Attributes:
        name: its name in the queue.
        folder: its folder, for log, status and result.
        arguments: the command line of tools/sweep.py.
        result_file: the file that it leaves.
    """

    name: str
    folder: Path
    arguments: tuple[str, ...]
    result_file: ClassVar[str] = PLAN_FILE

    def command(self, processes: int = 1) -> list[str]:
        """See :meth:`memba_vision.sweeps.jobs.Job.command`."""
        tool = package_data_folder() / 'tools' / 'sweep.py'
        return [sys.executable, str(tool), *self.arguments]


def plan_elsewhere(
    make_executor: Callable[[Path], Executor], arguments: Sequence[str], folder: Path
) -> str:
    """Have a node measure, and return what it says.

    Args:
        make_executor: returns what takes the measurement for a run, with the cores and GPUs of
            one, and keeps its files in a folder.
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
    errand = Errand(f'plan_{folder.name}', own, (*arguments, *changed))
    try:
        with closing(make_executor(own)) as executor:
            ended = _run(executor, errand)
        text = _read(own)
        if not text:
            raise UserError(f'the measurement for --plan failed: {_reason(own, ended)}')
        return text
    finally:
        shutil.rmtree(own, ignore_errors=True)


def write_plan(folder: Path, text: str) -> None:
    """Leave a forecast for :func:`plan_elsewhere`."""
    (folder / PLAN_FILE).write_text(json.dumps({'plan': text}), encoding='utf-8')


def _run(executor: Executor, errand: Errand) -> Ended:
    attempt = executor.start(errand)
    try:
        while (ended := attempt.poll()) is None:
            time.sleep(PAUSE)
    except BaseException:
        attempt.stop()
        raise
    return ended


def _read(folder: Path) -> str:
    try:
        return json.loads((folder / PLAN_FILE).read_text(encoding='utf-8'))['plan']
    except OSError:
        return ''


def _reason(folder: Path, ended: Ended) -> str:
    log = folder / LOG_FILE
    said = last_words(log.read_text(errors='replace')) if log.is_file() else ''
    noted = read_status(str(folder)).get('message', '')
    return ended.message or noted or said or f'it ended with status {ended.status}'
