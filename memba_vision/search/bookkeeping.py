"""Notes on the workers of trials, and recovery of trials whose worker died."""

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from memba_vision.leases import machine

DEAD_AFTER = 300.0  # seconds without a heartbeat from another machine
TRIES = 3  # starts of a trial

# Keys of notes on a trial in the storage.
WORKER, BEAT, TRY, FOLDER, ERROR, DEFAULT, RETRIED, ENTERED = (
    'worker',
    'beat',
    'try',
    'folder',
    'error',
    'default',
    'retried',  # or not to be run: it does not count
    'entered',  # by the second step, from the first
)


def heartbeat(trial: Any) -> None:
    """Note in a trial that this process is alive and works on it.

    While the storage does not answer, nothing is noted, and the training goes on.
    """
    from optuna.exceptions import StorageInternalError

    with contextlib.suppress(StorageInternalError):
        trial.set_user_attr(WORKER, dict(machine=machine(), process=_identity(os.getpid())))
        trial.set_user_attr(BEAT, time.time())


def is_dead(trial: Any) -> bool:
    """Return True if the worker of a running trial is gone.

    A worker on another machine counts as gone after ``DEAD_AFTER`` seconds without a heartbeat.
    """
    worker = trial.user_attrs.get(WORKER)
    if worker is not None and worker['machine'] == machine():
        return _identity(int(worker['process'].split('@')[0])) != worker['process']
    last = trial.user_attrs.get(BEAT) or trial.datetime_start.timestamp()
    return time.time() - last > DEAD_AFTER


def recover_dead_trials(study: Any) -> list[int]:
    """Mark running trials whose worker is gone as failed, and queue their values again.

    Returns:
        The numbers of the trials that were queued again.
    """
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
    dead = [trial.number for trial in running if is_dead(trial)]
    reason = 'its worker was killed'
    return [number for number in dead if give_up(study, number, reason, counts_as_try=False)]


def give_up(study: Any, number: int, reason: str, counts_as_try: bool = True) -> bool:
    """Mark a running trial as failed, and queue its values again if it has tries left.

    Args:
        study: the study.
        number: number of the trial.
        reason: a line that describes the error.
        counts_as_try: False if the search, not the trial, was interrupted.

    Returns:
        True if it was queued again; False if it has no tries left or another worker was faster.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import Trial, TrialState

    trial = study.trials[number]
    if trial.state is not TrialState.RUNNING:
        return False
    tries = trial.user_attrs.get(TRY, 1)
    handle = Trial(study, trial._trial_id)
    is_tried_again = tries < TRIES or not counts_as_try
    try:
        handle.set_user_attr(ERROR, reason)
        if is_tried_again:
            handle.set_user_attr(RETRIED, True)
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, UpdateFinishedTrialError):
        return False
    if is_tried_again:
        notes = {FOLDER: folder_number(trial), TRY: tries + counts_as_try}
        if is_default(trial):
            notes[DEFAULT] = True
        study.enqueue_trial(trial.params, user_attrs=notes)
    return is_tried_again


def is_default(trial: Any) -> bool:
    """Return True for the trial of the config as it is."""
    return trial.user_attrs.get(DEFAULT, False)


def is_retry(trial: Any) -> bool:
    """Return True if an earlier try of a trial may have left checkpoints."""
    return FOLDER in trial.user_attrs


def folder_number(trial: Any) -> int:
    """Return the number in the name of a trial's folder: its own, or that of its first try."""
    return trial.user_attrs.get(FOLDER, trial.number)


def _identity(process: int) -> str:
    """Return a unique name of a process, its id and start time; ``0@`` if it is gone."""
    try:
        fields = Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()
    except OSError:
        return '0@'
    return '0@' if fields[0] == 'Z' else f'{process}@{fields[19]}'
