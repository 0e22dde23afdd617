"""State of a run, read from its folder."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from memba_vision.engine.metric_names import TOP1
from memba_vision.leases import machine, seems_held
from memba_vision.runs.metrics import Metric
from memba_vision.sweeps.supervise import (
    LEASE_FILE,
    LOCK_FILE,
    NO_LOCKS,
    RESULT_FILE,
    read_status,
)

STATES = ('waiting', 'running', 'finished', 'failed', 'stopped')


@dataclass(frozen=True)
class Status:
    """State of a run, and what is known of its tries.

    Attributes:
        state: 'waiting' (never started), 'running', 'finished', 'failed' (ended with an error of
            its own) or 'stopped' (ended from outside: it goes on from its checkpoint).
        message: a line that describes the error.
        tries: number of starts.
        seconds: running time of all tries that ended.
        score: test result as text, as '61.50 %', once it has finished.
        exit_status: exit status of its supervisor; None while it runs, or if its end was not noted.
        ended: time of its last end, as ``time.time()`` has it; 0 if there was none.
    """

    state: str = 'waiting'
    message: str = ''
    tries: int = 0
    seconds: float = 0.0
    score: str = ''
    exit_status: int | None = None
    ended: float = 0.0


def run_status(folder: Path) -> Status:
    """Return the state of the run in ``folder``.

    The lock tells whether the run has processes, whatever its status file says. A result alone
    does not make a run finished, since tools/test.py writes one for any checkpoint.
    """
    noted = read_status(str(folder))
    state, message = noted.get('state', 'waiting'), noted.get('message', '')
    tries, seconds = noted.get('tries', 0), noted.get('seconds', 0.0)
    score = _score(folder / RESULT_FILE) if state == 'finished' else ''
    if not score:
        if is_locked(folder):
            state, message = 'running', ''
        elif state in ('running', 'finished'):
            state, message = 'stopped', 'was killed, or its machine went down'
    ended = noted.get('ended', 0.0)
    return Status(state, message, tries, seconds, score, noted.get('exit_status'), ended)


def is_locked(folder: Path) -> bool:
    """Return True if a process on any machine that shares the disk is at work in ``folder``.

    The system's lock tells it of this machine. For others its lease tells it, if such locks do not
    reach them; one that went down counts as at work for another minute of looks.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two sweeps that look do not see each other's lock.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.read(descriptor, 1000).decode(errors='replace') in ('', machine()):
            return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    finally:
        os.close(descriptor)
    return seems_held(folder / LEASE_FILE)


def _score(path: Path) -> str:
    try:
        result = json.loads(path.read_text(encoding='utf-8'))
        value = float(result['value'] if 'value' in result else result['top1'])
    except (OSError, ValueError, KeyError, TypeError):
        return ''
    return Metric(result.get('metric', TOP1)).text(value)
