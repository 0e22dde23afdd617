"""Stops a run that has gone wrong before it overwrites what was good."""

import math

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from memba_vision.errors import UserError
from memba_vision.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops at the first NaN or infinite loss, and never lets non-finite weights be saved."""

    priority = 'VERY_HIGH'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Check the loss of the step that was just made."""
        loss = float(outputs['loss'].detach())
        if not math.isfinite(loss):
            raise UserError(f'the loss is {loss} {_where(runner, batch_idx)}; {_advice(runner)}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights that are about to be saved."""
        for name, tensor in checkpoint['state_dict'].items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise UserError(
                    f'{name} is not finite after step {runner.iter + 1}, so it was not saved; '
                    f'{_advice(runner)}'
                )


def _where(runner: Runner, batch_idx: int) -> str:
    return f'at step {runner.iter + 1} (epoch {runner.epoch + 1}, batch {batch_idx + 1})'


def _advice(runner: Runner) -> str:
    return (
        f'training stopped and the checkpoints in {runner.work_dir} are as they were before: '
        'lower the learning rate, or train without --amp, and continue with --resume'
    )
