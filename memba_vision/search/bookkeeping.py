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
    trial.set_user_attr(WORKER, dict(host=socket.gethostname(), process=_identity(os.getpid())))
    trial.set_user_attr(BEAT, time.time())


def is_dead(trial: Any) -> bool:
    """Whether the worker of a running trial is gone.

    On this machine that is known; of another one, after five minutes without a sign.
    """
    worker = trial.user_attrs.get(WORKER)
    if worker is not None and worker['host'] == socket.gethostname():
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
    return [number for number in dead if give_up(study, number, 'its worker was killed')]


def give_up(study: Any, number: int, reason: str) -> bool:
    """Mark a running trial as failed, and queue what it tried again if it has tries left.

    Returns:
        Whether it was queued again; not where another worker was faster.
    """
    from optuna.trial import Trial, TrialState

    trial = study.trials[number]
    if trial.state is not TrialState.RUNNING:
        return False
    tries = trial.user_attrs.get(TRY, 1)
    handle = Trial(study, trial._trial_id)
    handle.set_user_attr(ERROR, reason)
    is_tried_again = tries < TRIES
    if is_tried_again:
        handle.set_user_attr(RETRIED, True)
    try:
        study.tell(number, state=TrialState.FAIL)
    except ValueError:
        return False
    if is_tried_again:
        notes = {FOLDER: folder_number(trial), TRY: tries + 1}
        if trial.user_attrs.get(DEFAULT):
            notes[DEFAULT] = True
        study.enqueue_trial(trial.params, user_attrs=notes)
    return is_tried_again


def folder_number(trial: Any) -> int:
    """The trial whose folder a trial goes on in: its own, or that of its first try."""
    return trial.user_attrs.get(FOLDER, trial.number)


def _identity(process: int) -> str:
    """A process as no other one will be called: its id, and when it started; ``0@`` if gone."""
    try:
        fields = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return '0@'
    return '0@' if fields[0] == 'Z' else f'{process}@{fields[19]}'
