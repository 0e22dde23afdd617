"""The state of a run, as its folder tells it."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from memba_vision.runs.metrics import TOP1, Metric
from memba_vision.sweeps.supervise import LOCK_FILE, RESULT_FILE, read_status

STATES = ('waiting', 'running', 'finished', 'failed', 'stopped')


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        state: 'waiting' (never started), 'running', 'finished', 'failed' (ended with an error of
            its own) or 'stopped' (ended from outside: it goes on from its checkpoint).
        message: a line on what went wrong.
        tries: how often it was started.
        seconds: how long it ran, over all tries that ended.
        score: its test result as text, as '61.50 %', once it has finished.
    """

    state: str = 'waiting'
    message: str = ''
    tries: int = 0
    seconds: float = 0.0
    score: str = ''


def run_status(folder: Path) -> Status:
    """The state of the run in ``folder``.

    What was written down is not all: a run whose processes are gone does not run, whatever it
    said last. A result alone does not end a run: tools/test.py leaves one of any checkpoint.
    """
    noted = read_status(str(folder))
    state, message = noted.get('state', 'waiting'), noted.get('message', '')
    score = _score(folder / RESULT_FILE) if state == 'finished' else ''
    if not score:
        if is_locked(folder):
            state, message = 'running', ''
        elif state in ('running', 'finished'):
            state, message = 'stopped', 'was killed, or its machine went down'
    return Status(state, message, noted.get('tries', 0), noted.get('seconds', 0.0), score)


def is_locked(folder: Path) -> bool:
    """Whether some process, here or on a machine that shares the disk, is at work in ``folder``."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look do not take each other for one who works.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _score(path: Path) -> str:
    try:
        result = json.loads(path.read_text(encoding='utf-8'))
        value = float(result['value'] if 'value' in result else result['top1'])
    except (OSError, ValueError, KeyError, TypeError):
        return ''
    return Metric(result.get('metric', TOP1)).text(value)
