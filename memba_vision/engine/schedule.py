"""Schedules of learning rates: those shorter than a step, and those of a run that resumes."""

import logging
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner

from memba_vision.errors import UserError


def without_short_parts(schedulers: Any, epoch_length: int) -> Any:
    """Return the settings of schedulers without parts that are shorter than a step.

    The warm-up of a few epochs of a few steps may be one; mmengine would take it for a mistake.

    Args:
        schedulers: the setting ``param_scheduler``: a dict, a list, or either by optimizer.
        epoch_length: number of steps of an epoch.
    """
    if isinstance(schedulers, dict) and 'type' not in schedulers:
        return {key: without_short_parts(part, epoch_length) for key, part in schedulers.items()}
    if isinstance(schedulers, list | tuple):
        fitted = [_in_whole_steps(part, epoch_length) for part in schedulers]
        return [part for part in fitted if part is not None]
    return schedulers


def _in_whole_steps(scheduler: Any, epoch_length: int) -> Any:
    """Return a scheduler's settings, None if its part is too short."""
    if not isinstance(scheduler, dict):
        return scheduler
    is_converted = scheduler.get('convert_to_iter_based', False)
    given = {key: scheduler[key] for key in ('begin', 'end') if scheduler.get(key) is not None}
    whole = {k: int(at * epoch_length) if is_converted else round(at) for k, at in given.items()}
    has_length = 'end' in given and given.get('begin', 0) < given['end']
    if has_length and whole.get('begin', 0) >= whole['end']:
        return None
    return scheduler if is_converted else {**scheduler, **whole}


class Schedule:
    """Learning rates of a config, and the steps at which their schedules end.

    A checkpoint has its own of both, and mmengine would silently continue with these.

    Args:
        runner: before it resumes.
    """

    def __init__(self, runner: Runner) -> None:
        self.rates = _rates(runner)
        self.ends = _ends(runner)

    def set_epoch(self, runner: Runner, source: str) -> None:
        """Set the epoch of a runner that has resumed from a step's checkpoint.

        mmengine repeats the epoch of that step, though the step may have been its last.
        """
        loop = runner.train_loop
        if not isinstance(loop, EpochBasedTrainLoop):
            return
        finished, rest = divmod(runner.iter, len(loop.dataloader))
        by_epoch = any(scheduler.by_epoch for scheduler in _schedulers(runner))
        if finished == runner.epoch + 1 and not rest and not by_epoch:
            loop._epoch = finished
        elif finished == runner.epoch + (0 if rest else 1):
            print_log(
                f'{source} was saved within epoch {runner.epoch + 1}, which begins again: the run '
                'takes more steps than one in one go; save at the end of epochs (by_epoch=True)',
                logger='current',
                level=logging.WARNING,
            )

    def set_learning_rates(self, runner: Runner, source: str) -> None:
        """Set the learning rates of a runner that has resumed to those of the config.

        Raises:
            UserError: the checkpoint's schedule ends at another step.
        """
        if _has_finished(runner):
            return
        if self.ends != _ends(runner):
            raise UserError(
                f'{source}: its schedule ends at step {max(_ends(runner))}, that of the config at '
                f'{max(self.ends)}: resume with the train_cfg, the batch size and the number of '
                'processes that it was trained with, or train anew'
            )
        pairs = zip(self.rates, _rates(runner), strict=True)
        factors = [new / old if old else 1.0 for new, old in pairs]
        if all(factor == 1 for factor in factors):
            return
        for group, factor in zip(runner.optim_wrapper.param_groups, factors, strict=True):
            for key in ('lr', 'initial_lr'):
                if key in group:
                    group[key] *= factor
        for scheduler in _schedulers(runner):
            scheduler.base_values = [
                value * factor for value, factor in zip(scheduler.base_values, factors, strict=True)
            ]
        print_log(f'Going on with the learning rate of the config, {self.rates[0]:.3g}', 'current')


def _has_finished(runner: Runner) -> bool:
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return runner.epoch >= runner.max_epochs
    return runner.iter >= runner.max_iters


def _rates(runner: Runner) -> list[float]:
    """Return the learning rate of each group of parameters, before any schedule."""
    return [group.get('initial_lr', group['lr']) for group in runner.optim_wrapper.param_groups]


def _ends(runner: Runner) -> list[int]:
    return [scheduler.end for scheduler in _schedulers(runner)]


def _schedulers(runner: Runner) -> list:
    found = runner.param_schedulers
    listed = found if isinstance(found, list) else []
    return [scheduler for scheduler in listed if scheduler.param_name == 'lr']
