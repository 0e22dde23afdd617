"""Optuna's studies, in the form that a search needs."""

import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from memba_vision.errors import UserError
from memba_vision.files import escape_surrogates
from memba_vision.runs.compared_settings import describe_differences, flat_settings
from memba_vision.search import bookkeeping
from memba_vision.search.steps import Step

SETTINGS = 'memba_vision_settings'
#: Drivers of databases by the beginning of the address, and the packages that they come in.
DRIVERS = {'postgresql': 'psycopg', 'mysql': 'pymysql', 'mariadb': 'pymysql'}
PACKAGES = {'psycopg': "'psycopg[binary]'"}
#: Words of databases in which two workers make the same tables or the same study at once.
MADE_AT_ONCE = ('already exists', 'duplicate key', 'UNIQUE constraint', 'Duplicate entry')
PAUSES = (0.2, 0.5, 1.0, 2.0)  # seconds until the next try
LARGEST_SEED = 2**32  # of numpy's older generators, which Optuna takes
SQLITE_PATIENCE = 60.0  # seconds that a worker waits for another one


def import_optuna() -> Any:
    """Import Optuna without its messages.

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
    open_storage = import_optuna().storages.RDBStorage
    if isinstance(storage, str):  # a server may have been started anew between two calls
        return open_storage(storage, engine_kwargs=dict(pool_pre_ping=True))
    connect = partial(
        sqlite3.connect, os.path.abspath(storage), timeout=SQLITE_PATIENCE, check_same_thread=False
    )
    # The address says which database it is; in the path itself, ? and % would be part of one.
    return open_storage('sqlite:///search.db', engine_kwargs=dict(creator=connect))


def open_study(storage: str | Path, name: str, pruner: str, epochs: int) -> Any:
    """Open a study, created if it does not exist.

    Args:
        storage: an Optuna storage URL, or the file of an SQLite database.
        name: name of the study.
        pruner: one of ``memba_vision.search.PRUNERS``.
        epochs: epochs of a trial.

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
    for pause in (*PAUSES, None):
        try:
            return optuna.create_study(
                storage=_as_storage(storage),
                study_name=escape_surrogates(name),
                direction='maximize',
                pruner=pruners[pruner](),
                load_if_exists=True,
            )
        except Exception as error:  # of the database's driver
            if pause is None or not any(words in str(error) for words in MADE_AT_ONCE):
                raise _cannot_open(storage, error) from error
            time.sleep(pause)


def _cannot_open(storage: str | Path, error: Exception) -> UserError:
    """Return the error that says of a storage what is missing: driver, server or right address."""
    kind, _, place = str(storage).partition('://')
    dialect = kind.partition('+')[0]
    if isinstance(error, ImportError) and dialect in DRIVERS:
        driver = DRIVERS[dialect]
        advice = (
            f'pip install {PACKAGES.get(driver, driver)} where the search runs (on every worker), '
            f'and begin the address with {dialect}+{driver}://'
        )
    elif isinstance(error, ImportError):
        advice = 'install its driver for Python where the search runs (on every worker)'
    elif isinstance(storage, str) and ('://' not in storage or "Can't load plugin" in str(error)):
        advice = 'expected an address such as postgresql+psycopg://USER@HOST/DATABASE'
    elif dialect in DRIVERS:
        server = place.rpartition('@')[2]
        advice = (
            f'see that {dialect} runs at {server}, that this machine may reach it, and that user '
            'and password are right and the database exists'
        )
    else:
        advice = 'see that the place exists and can be written'
    return UserError(f'--storage cannot be opened ({_reason(error)}): {advice}')


@contextlib.contextmanager
def reported_if_lost() -> Iterator[None]:
    """Turn the error of a storage that fails later into one line.

    Raises:
        UserError: that.
    """
    lost = import_optuna().exceptions.StorageInternalError
    try:
        yield
    except lost as error:
        raise UserError(
            f'--storage cannot be used any more ({_reason(error.__cause__ or error)}): once it '
            'can, the same command goes on'
        ) from error


def _reason(error: BaseException) -> str:
    """Return an error in one line, without what SQLAlchemy adds: statement and manual."""
    text = str(error).partition('\n[SQL: ')[0].partition('(Background on this error')[0]
    return ' '.join(text.split())


def check_settings(study: Any, settings: dict[str, Any]) -> None:
    """Note the settings of a search, or compare them with its earlier ones.

    Raises:
        UserError: it was started with other settings, which the message names.
    """
    earlier = study.user_attrs.get(SETTINGS)
    if earlier is None:
        study.set_user_attr(SETTINGS, json.loads(json.dumps(settings, default=str)))
        return
    both = (flat_settings(each, passing=()) for each in (earlier, settings))
    if found := describe_differences(*both):
        raise UserError(
            f'the search {study.study_name} was started with other settings '
            f'({found}): repeat them, or give another --work-dir '
            '(and with --storage another database)'
        )


def enqueue_default(study: Any, own_values: dict[str, Any]) -> None:
    """Queue the config as it is, unless it is queued, running or done.

    Two workers may do so at the same time: see :func:`is_surplus`.
    """
    alive = trials_in(study, 'WAITING', 'RUNNING', 'COMPLETE', 'PRUNED')
    if not any(map(bookkeeping.is_default, alive)):
        study.enqueue_trial(own_values, user_attrs={bookkeeping.DEFAULT: True})


def _sampler(name: str, seed: int, trials: int) -> Any:
    """Return the sampler of a name of ``memba_vision.search.SAMPLERS``."""
    samplers = import_optuna().samplers
    if name == 'evolution':
        # Generations of a quarter of the trials: parents are drawn among the best so far.
        return samplers.NSGAIISampler(population_size=max(4, trials // 4), seed=seed)
    first = max(4, min(10, trials // 3))
    return samplers.TPESampler(seed=seed, n_startup_trials=first, constant_liar=True)


def _seed(seed: int, number: int) -> int:
    """Return the seed of a draw, below ``LARGEST_SEED``, for any seed of a search."""
    own = seed * 100_003 + number
    if own < LARGEST_SEED:
        return own
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def ask(study: Any, step: Step, own_values: dict[str, Any], task: Any) -> Any:
    """Return the next trial of a study, with the values to try as its ``params``.

    The draw depends on the seed and the number of trials, so that a search that is continued does
    not repeat its draws.

    Args:
        study: the study.
        step: the step that it is of.
        own_values: of the config as it is.
        task: the :class:`~memba_vision.search.search.Search`: its sampler, seed and trials.
    """
    number = len(study.get_trials(deepcopy=False))
    study.sampler = _sampler(task.sampler, _seed(task.seed, number), task.trials)
    trial = study.ask()
    bookkeeping.heartbeat(trial)
    is_default = bookkeeping.is_default(trial)
    for name, parameter in step.parameters.items():
        if not is_default or name in own_values:
            parameter.suggest(trial, name)
    return trial


def tell(study: Any, trial: Any, accuracy: float | None, state: Any) -> None:
    """Report the outcome of a trial to Optuna.

    Raises:
        UpdateFinishedTrialError: another worker has reported one.
    """
    try:
        study.tell(trial, accuracy, state=state)
    except ValueError as error:
        if not study.trials[trial.number].state.is_finished():
            raise
        raise import_optuna().exceptions.UpdateFinishedTrialError(str(error)) from error


def trials_in(study: Any, *states: str) -> list[Any]:
    """Return the trials of a study in one of some states, by the names that Optuna gives them."""
    known = import_optuna().trial.TrialState
    return study.get_trials(deepcopy=False, states=[known[state] for state in states])


def counted(study: Any) -> list[Any]:
    """Return the trials that count, by number.

    One that was queued again counts once, and so does one that several workers have entered.
    """
    found = study.get_trials(deepcopy=False)
    found = [trial for trial in found if bookkeeping.RETRIED not in trial.user_attrs]
    entered = [trial.number for trial in found if bookkeeping.ENTERED in trial.user_attrs]
    return [trial for trial in found if trial.number not in entered[1:]]


def left_to_do(study: Any, trials: int) -> bool:
    """Return True if trials are missing."""
    return len(counted(study)) < trials or bool(trials_in(study, 'WAITING'))


def is_surplus(study: Any, trial: Any, trials: int) -> bool:
    """Return True if workers that look at the same time have begun one trial too many: this one.

    All of them agree on it, since a storage numbers trials one after the other.

    Args:
        study: the study.
        trial: a trial that was asked for.
        trials: the number of trials that the study is to have.
    """
    found = counted(study)
    if bookkeeping.is_default(trial):
        defaults = [t for t in found if bookkeeping.is_default(t) and t.state.name != 'FAIL']
        return defaults[0].number < trial.number
    return trial.number in [t.number for t in found[trials:]]


def drop(study: Any, trial: Any) -> None:
    """End a trial that is not to be run, so that it counts no more."""
    trial.set_user_attr(bookkeeping.RETRIED, True)
    tell(study, trial, None, import_optuna().trial.TrialState.FAIL)


def is_running(study: Any) -> bool:
    """Return True if a worker is running a trial."""
    return bool(trials_in(study, 'RUNNING'))


def finished(study: Any) -> list[Any]:
    """Return the trials with an accuracy, best first; equal ones by number."""
    found = [trial for trial in counted(study) if trial.state.name == 'COMPLETE']
    return sorted(found, key=lambda trial: (-trial.value, trial.number))


def same_values(study: Any, trial: Any) -> Any | None:
    """Return a finished trial of the same values; None for the default, or if there is none.

    Such a trial need not be run, since trainings are reproducible.
    """
    if bookkeeping.is_default(trial):
        return None
    done = trials_in(study, 'COMPLETE', 'PRUNED')
    return next((t for t in done if t.params == trial.params and t.number != trial.number), None)


def make_objective_report(study: Any, trial: Any) -> Callable[[int, float], bool]:
    """Return a function of epoch and accuracy that returns True to prune the trial."""

    def report(epoch: int, accuracy: float) -> bool:
        known = study.trials[trial.number].intermediate_values
        if epoch not in known:  # Optuna warns of a second report
            trial.report(accuracy, epoch)
        return not bookkeeping.is_default(trial) and trial.should_prune()

    return report
