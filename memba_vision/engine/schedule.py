"""Learning rates of a config in a run that resumes from a checkpoint."""

import logging

from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner

from memba_vision.errors import UserError


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
