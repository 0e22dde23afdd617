"""Who works on which trial, and what becomes of trials whose worker died."""

import os
import socket
import time
from pathlib import Path
from typing import Any

DEAD_AFTER = 300.0  # seconds without a sign of life from another machine
TRIES = 3

# Notes on a trial, kept in the storage.
WORKER, BEAT, TRY, FOLDER, ERROR, DEFAULT, RETRIED = (
    'worker',
    'beat',
    'try',
    'folder',
    'error',
    'default',
    'retried',
)


def sign(trial: Any) -> None:
    """Note in a trial that this process works on it, and that it lives."""
    trial.set_user_attr(WORKER, dict(machine=_machine(), process=_identity(os.getpid())))
    trial.set_user_attr(BEAT, time.time())


def is_dead(trial: Any) -> bool:
    """Whether the worker of a running trial is gone.

    On this machine that is known; of another one, after five minutes without a sign.
    """
    worker = trial.user_attrs.get(WORKER)
    if worker is not None and worker['machine'] == _machine():
        return _identity(int(worker['process'].split('@')[0])) != worker['process']
    last = trial.user_attrs.get(BEAT) or trial.datetime_start.timestamp()
    return time.time() - last > DEAD_AFTER


def take_up_dead_trials(study: Any) -> list[int]:
    """Mark each running trial whose worker is gone as failed, and queue what it tried again.

    Returns:
        The numbers of those that were queued again.
    """
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    dead = [trial.number for trial in running if is_dead(trial)]
    reason = 'its worker was killed'
    return [number for number in dead if give_up(study, number, reason, is_its_fault=False)]


def give_up(study: Any, number: int, reason: str, is_its_fault: bool = True) -> bool:
    """Mark a running trial as failed, and queue what it tried again if it has tries left.

    Args:
        study: the study.
        number: the trial.
        reason: a line on what happened.
        is_its_fault: whether this was one of its tries. What ended the search itself was not.

    Returns:
        Whether it was queued again; not where another worker was faster.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import Trial, TrialState

    trial = study.trials[number]
    if trial.state is not TrialState.RUNNING:
        return False
    tries = trial.user_attrs.get(TRY, 1)
    handle = Trial(study, trial._trial_id)
    is_tried_again = tries < TRIES or not is_its_fault
    try:
        handle.set_user_attr(ERROR, reason)
        if is_tried_again:
            handle.set_user_attr(RETRIED, True)
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, UpdateFinishedTrialError):
        return False
    if is_tried_again:
        notes = {FOLDER: folder_number(trial), TRY: tries + is_its_fault}
        if trial.user_attrs.get(DEFAULT):
            notes[DEFAULT] = True
        study.enqueue_trial(trial.params, user_attrs=notes)
    return is_tried_again


def goes_on(trial: Any) -> bool:
    """Whether an earlier try of a trial may have left checkpoints."""
    return FOLDER in trial.user_attrs


def folder_number(trial: Any) -> int:
    """The trial whose folder a trial goes on in: its own, or that of its first try."""
    return trial.user_attrs.get(FOLDER, trial.number)


def _machine() -> str:
    """Where a process id means what it means here: the host's name alone may be that of a twin."""
    try:
        booted = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return f'{socket.gethostname()} {booted} {os.readlink("/proc/self/ns/pid")}'
    except OSError:
        return socket.gethostname()


def _identity(process: int) -> str:
    """A process as no other one will be called: its id, and when it started; ``0@`` if gone."""
    try:
        fields = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return '0@'
    return '0@' if fields[0] == 'Z' else f'{process}@{fields[19]}'
