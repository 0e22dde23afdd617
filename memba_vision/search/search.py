"""Search: trials, one after the other, until there are enough of them."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from memba_vision.errors import DiskFull, UserError
from memba_vision.runs.epochs import set_epochs
from memba_vision.runs.tool_options import EPOCHS
from memba_vision.search import bookkeeping
from memba_vision.search import study as studies
from memba_vision.search.progress import progress_line
from memba_vision.search.space import Space
from memba_vision.search.split import validate_each_epoch
from memba_vision.search.steps import Step, check_fits, first_step, numbers_of_epochs, second_step
from memba_vision.search.trial import Died, Failed, Pruned, run_trial

AS_IT_IS = 'the config as it is'
POLL = 5.0  # seconds between two looks at the trials of other workers


@dataclass(frozen=True)
class Search:
    """Description of a search.

    Attributes:
        config: its settings are the default.
        space: settings and adapters that may change.
        folder: folder of trials, storage and results.
        name: name of its studies in the storage.
        storage: an Optuna storage URL, or the file of an SQLite database.
        trials: trials of each step, the default among them.
        epochs: epochs of a trial; None stands for those of the config.
        pruner: one of ``memba_vision.search.PRUNERS``.
        sampler: one of ``memba_vision.search.SAMPLERS``.
        seed: seed of the sampler; several workers want different ones.
        tell: called with a line for each event.
    """

    config: Config
    space: Space
    folder: Path
    name: str
    storage: str | Path
    trials: int
    epochs: int | None = None
    pruner: str = 'median'
    sampler: str = 'tpe'
    seed: int = 0
    tell: Callable[[str], None] = field(default=lambda line: None)

    @property
    def trial_epochs(self) -> int:
        """Number of epochs of a trial, of the longest where the space varies it."""
        own = self.config.train_cfg.max_epochs
        return self.epochs or max((own, *numbers_of_epochs(self.space)))

    def settings(self) -> dict[str, Any]:
        """Return the settings that may not change between two calls of the same search."""
        config = {k: v for k, v in self.config.to_dict().items() if k not in ('work_dir', 'resume')}
        return {**config, 'search space': asdict(self.space), 'epochs': self.trial_epochs}


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        step: the step it belongs to.
        number: number in its step.
        accuracy: validation accuracy in percent.
        values: values that it tried.
        is_default: True for the config as it is.
    """

    step: Step
    number: int
    accuracy: float
    values: dict[str, Any]
    is_default: bool

    def describe(self) -> str:
        """Return the values in one line."""
        return AS_IT_IS if self.is_default else self.step.describe(self.values)


def search(task: Search) -> list[Trial]:
    """Run the trials that a search lacks.

    Returns:
        All finished trials, best first; equal ones in their order.

    Raises:
        UserError: the config and the space do not fit, the search was started with other settings,
            the config's own trial failed, or each but that; the disk is full, or the storage fails.
    """
    check_fits(task.space, task.config)
    if task.epochs and numbers_of_epochs(task.space):
        raise UserError(f'--epochs: the search space varies {EPOCHS}; leave one of them out')
    validate_each_epoch(deepcopy(task.config))  # raises before the first trial
    with studies.reported_if_lost():
        return _run_steps(task)


def _run_steps(task: Search) -> list[Trial]:
    step = first_step(task.space)
    trials = _run_step(task, step, None)
    if task.space.adapters:
        best = next((trial for trial in trials if not trial.is_default), None)
        sizes = second_step(task.space, best.values) if best else None
        if sizes:
            task.tell(f'step 2: sizes of {", ".join(sizes.candidates) or "no adapter"}')
            trials += _run_step(task, sizes, best)
    # The sort keeps the order of equals: the default comes before what is only as good.
    return sorted(trials, key=lambda trial: -trial.accuracy)


def _run_step(task: Search, step: Step, start: Trial | None) -> list[Trial]:
    """Run the trials that a step lacks.

    Args:
        task: the search.
        step: the step.
        start: trial of an earlier step that counts as the first; None for the config as it is.
    """
    name = f'{task.name}/{step.key}'
    study = studies.open_study(task.storage, name, task.pruner, task.trial_epochs)
    studies.check_settings(study, task.settings())
    own_values = step.own_values(task.config)
    if start is None:
        studies.enqueue_default(study, own_values)
    else:
        _add_finished(study, step, own_values, start.accuracy)
    while True:
        for number in bookkeeping.recover_dead_trials(study):
            task.tell(f'{step.name} {number}: its worker was killed, it is taken up again')
        if studies.left_to_do(study, task.trials):
            _run_next(task, step, study, own_values)
            task.tell(f'  {progress_line(study.get_trials(deepcopy=False), task.trials)}')
        elif studies.is_running(study):  # by other workers, which may find something better
            time.sleep(POLL)
        else:
            break
    found = [_as_trial(step, trial) for trial in studies.finished(study)]
    if start is None and not any(trial.is_default for trial in found):
        raise UserError(f'{AS_IT_IS} was not trained to its end: give the same command again')
    if start is None:
        _check_not_all_failed(study)
    return found


def _check_not_all_failed(study: Any) -> None:
    """Raise a UserError where each trial but the config's own failed: nothing was searched."""
    tried = [trial for trial in studies.counted(study) if not bookkeeping.is_default(trial)]
    if tried and all(trial.state.name == 'FAIL' for trial in tried):
        reason = tried[-1].user_attrs.get(bookkeeping.ERROR, 'its worker died')
        raise UserError(
            f'each trial but {AS_IT_IS} failed, {len(tried)} in all, the last because: {reason}. '
            'Change the space, or what it needs, and search with another --work-dir and --storage'
        )


def _add_finished(study: Any, step: Step, values: dict[str, Any], accuracy: float) -> None:
    """Enter the trial of an earlier step as the first of an empty study."""
    if study.get_trials(deepcopy=False):
        return
    optuna = studies.import_optuna()
    probe = optuna.create_study()
    probe.enqueue_trial(values)
    asked = probe.ask()
    for name in values:
        step.parameters[name].suggest(asked, name)
    notes = {bookkeeping.ENTERED: True}
    found = dict(params=values, distributions=asked.distributions, value=accuracy)
    study.add_trial(optuna.trial.create_trial(user_attrs=notes, **found))


def _as_trial(step: Step, trial: Any) -> Trial:
    is_default = bookkeeping.is_default(trial)
    return Trial(step, trial.number, trial.value, dict(trial.params), is_default)


def _run_next(task: Search, step: Step, study: Any, own_values: dict[str, Any]) -> None:
    """Ask for a trial, run it, and tell its outcome."""
    trial = studies.ask(study, step, own_values, task)
    try:
        if studies.is_surplus(study, trial, task.trials):
            studies.drop(study, trial)
            return
        _run(task, step, study, trial)
    except studies.import_optuna().exceptions.UpdateFinishedTrialError:
        # Its heartbeats were so late that another worker took it for dead.
        task.tell(f'{_label(step, trial)}: was taken over by another worker')


def _run(task: Search, step: Step, study: Any, trial: Any) -> None:
    state = studies.import_optuna().trial.TrialState
    twin = studies.same_values(study, trial)
    if twin is not None:
        ended = twin.value if twin.state is state.COMPLETE else None
        studies.tell(study, trial, ended, twin.state)
        task.tell(f'{_label(step, trial)}: the same as {twin.number}')
        return
    folder = task.folder / 'trials' / f'{step.key}_{bookkeeping.folder_number(trial):03d}'
    if not bookkeeping.is_retry(trial):
        _remove_checkpoints(folder)  # of an earlier search in the same place
    config = trial_config(task, step, trial, folder)
    report = studies.make_objective_report(study, trial)
    is_default = bookkeeping.is_default(trial)
    try:
        accuracy = run_trial(config, report, lambda: bookkeeping.heartbeat(trial))
    except Pruned:
        studies.tell(study, trial, None, state.PRUNED)
        outcome = 'pruned'
    except Died as death:
        again = bookkeeping.give_up(study, trial.number, str(death))
        if not again and is_default:
            raise UserError(f'the config as it is cannot be trained: {death}') from death
        task.tell(f'{_label(step, trial)}: {death}')
        return
    except DiskFull as failure:
        bookkeeping.give_up(study, trial.number, str(failure), counts_as_try=False)
        raise
    except Failed as failure:
        trial.set_user_attr(bookkeeping.ERROR, str(failure))
        studies.tell(study, trial, None, state.FAIL)
        if is_default:
            raise UserError(f'the config as it is cannot be trained: {failure}') from failure
        outcome = f'failed: {failure}'
    else:
        studies.tell(study, trial, accuracy, state.COMPLETE)
        outcome = f'{accuracy:.2f} %'
    _remove_checkpoints(folder)
    task.tell(f'{_label(step, trial)}: {outcome}')


def trial_config(task: Search, step: Step, trial: Any, folder: Path) -> Config:
    """Return the config of a trial: shortened, with its values, and without a test split."""
    config = deepcopy(task.config)
    if not bookkeeping.is_default(trial):
        step.apply(config, trial.params)
    if task.epochs:
        set_epochs(config, task.epochs)
    validate_each_epoch(config)
    config.work_dir = str(folder)
    # Checkpoints go to this folder alone: trials of two searches have the same names.
    for setting in ('out_dir', 'filename_tmpl'):
        (config.get('default_hooks', {}).get('checkpoint') or {}).pop(setting, None)
    return config


def _label(step: Step, trial: Any) -> str:
    is_default = bookkeeping.is_default(trial)
    return f'{step.name} {trial.number} ({AS_IT_IS if is_default else step.describe(trial.params)})'


def _remove_checkpoints(folder: Path) -> None:
    for path in folder.glob('*.pth'):
        path.unlink()
