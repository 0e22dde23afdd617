"""Optuna's studies, as a search uses them."""

import json
import logging
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from memba_vision.errors import UserError
from memba_vision.files import readable
from memba_vision.runs.compared_settings import differences, flat_settings
from memba_vision.search import bookkeeping
from memba_vision.search.steps import Step

SETTINGS = 'memba_vision_settings'
SHOWN = 8  # differences that an error lists
SQLITE_PATIENCE = 60.0  # seconds that a worker waits for another one


def import_optuna() -> Any:
    """Optuna, quiet.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            "a search needs Optuna: pip install 'memba_vision[search]' (or optuna itself)"
        ) from error
    optuna.logging.set_verbosity(logging.ERROR)
    return optuna


def _as_storage(storage: str | Path) -> Any:
    """Return the storage that Optuna opens: an address, or a file of SQLite of any name."""
    if isinstance(storage, str):
        return storage
    connect = partial(
        sqlite3.connect, os.path.abspath(storage), timeout=SQLITE_PATIENCE, check_same_thread=False
    )
    # The address says which database it is; in the path itself, ? and % would be part of one.
    return import_optuna().storages.RDBStorage(
        'sqlite:///search.db', engine_kwargs=dict(creator=connect)
    )


def open_study(storage: str | Path, name: str, pruner: str, epochs: int) -> Any:
    """The study of that name, made if it is not there.

    Args:
        storage: an Optuna storage URL, or the file of an SQLite database.
        name: of the study.
        pruner: one of ``memba_vision.search.PRUNERS``.
        epochs: of a trial.

    Raises:
        UserError: the storage cannot be opened.
    """
    optuna = import_optuna()
    pruners = {
        'median': lambda: optuna.pruners.MedianPruner(
            n_startup_trials=4, n_warmup_steps=epochs // 4
        ),
        'hyperband': lambda: optuna.pruners.HyperbandPruner(max_resource=epochs),
        'none': optuna.pruners.NopPruner,
    }
    try:
        return optuna.create_study(
            storage=_as_storage(storage),
            study_name=readable(name),
            direction='maximize',
            pruner=pruners[pruner](),
            load_if_exists=True,
        )
    except Exception as error:  # whatever the driver of a database raises
        reason = ' '.join(str(error).split())
        raise UserError(f'--storage cannot be opened: {reason}') from error


def check_settings(study: Any, settings: dict[str, Any]) -> None:
    """Note what a search is of, or compare with what it was started with.

    Raises:
        UserError: it was started with others; the message says which.
    """
    earlier = study.user_attrs.get(SETTINGS)
    if earlier is None:
        study.set_user_attr(SETTINGS, json.loads(json.dumps(settings, default=str)))
        return
    lines = differences(*(flat_settings(each, passing=()) for each in (earlier, settings)))
    if lines:
        raise UserError(
            f'the search {study.study_name} was started with other settings '
            f'({"; ".join(lines[:SHOWN])}): repeat them, or give another --work-dir '
            '(and with --storage another database)'
        )


def enqueue_default(study: Any, own_values: dict[str, Any]) -> None:
    """Queue the config as it is, unless it is queued, running or done."""
    states = import_optuna().trial.TrialState
    defaults = [t for t in study.get_trials(deepcopy=False) if bookkeeping.DEFAULT in t.user_attrs]
    if all(t.state is states.FAIL for t in defaults):
        study.enqueue_trial(own_values, user_attrs={bookkeeping.DEFAULT: True})


def ask(study: Any, step: Step, own_values: dict[str, Any], seed: int, trials: int) -> Any:
    """The next trial of a study, with the values it is to try as its ``params``.

    What is drawn depends on the seed and on how many trials there are, so that a search that is
    taken up again does not draw the same once more.
    """
    optuna = import_optuna()
    number = len(study.get_trials(deepcopy=False))
    study.sampler = optuna.samplers.TPESampler(
        seed=seed * 100_003 + number,
        n_startup_trials=max(4, min(10, trials // 3)),
        constant_liar=True,
    )
    trial = study.ask()
    bookkeeping.sign(trial)
    is_default = trial.user_attrs.get(bookkeeping.DEFAULT, False)
    for name, parameter in step.parameters.items():
        if not is_default or name in own_values:
            parameter.suggest(trial, name)
    return trial


def tell(study: Any, trial: Any, accuracy: float | None, state: Any) -> None:
    """Tell how a trial ended.

    Raises:
        UpdateFinishedTrialError: another worker has told already.
    """
    try:
        study.tell(trial, accuracy, state=state)
    except ValueError as error:
        if not study.trials[trial.number].state.is_finished():
            raise
        raise import_optuna().exceptions.UpdateFinishedTrialError(str(error)) from error


def left_to_do(study: Any, trials: int) -> bool:
    """Whether trials are missing; what was queued again after a death counts once."""
    states = import_optuna().trial.TrialState
    found = study.get_trials(deepcopy=False)
    if any(t.state is states.WAITING for t in found):
        return True
    counted = [t for t in found if bookkeeping.RETRIED not in t.user_attrs]
    return len(counted) < trials


def is_running(study: Any) -> bool:
    """Whether a worker is still on a trial."""
    states = import_optuna().trial.TrialState
    return bool(study.get_trials(deepcopy=False, states=[states.RUNNING]))


def finished(study: Any) -> list[Any]:
    """The trials with an accuracy, the best first; of equals the one that was first."""
    states = import_optuna().trial.TrialState
    complete = study.get_trials(deepcopy=False, states=[states.COMPLETE])
    return sorted(complete, key=lambda trial: (-trial.value, trial.number))


def same_values(study: Any, trial: Any) -> Any | None:
    """An earlier finished trial of the same values; None for the default, or where there is none.

    Training repeats itself, so that such a trial need not be run.
    """
    states = import_optuna().trial.TrialState
    if trial.user_attrs.get(bookkeeping.DEFAULT):
        return None
    done = study.get_trials(deepcopy=False, states=[states.COMPLETE, states.PRUNED])
    equal = [t for t in done if t.params == trial.params and t.number != trial.number]
    return equal[0] if equal else None


def make_objective_report(study: Any, trial: Any) -> Callable[[int, float], bool]:
    """What takes the accuracies of a trial's epochs, and says whether to prune it."""
    is_default = trial.user_attrs.get(bookkeeping.DEFAULT, False)

    def report(epoch: int, accuracy: float) -> bool:
        known = study.trials[trial.number].intermediate_values
        if epoch not in known:  # a sign that comes twice is no harm, but Optuna warns of it
            trial.report(accuracy, epoch)
        return not is_default and trial.should_prune()

    return report
