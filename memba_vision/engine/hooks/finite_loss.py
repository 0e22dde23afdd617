"""Hook that stops a run whose loss or weights are not finite."""

import json
import math
from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from memba_vision.errors import UserError
from memba_vision.files import write_atomically
from memba_vision.registry import HOOKS

LARGEST_LOG = 88  # of float32
BATCH_FILE = 'not_finite_rank{}.json'


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop at the first NaN or infinite loss, and never save non-finite weights.

    The step, its learning rate and the files of its images are written into the run's folder.
    """

    priority = 'VERY_HIGH'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Check the loss of the step that was just made."""
        loss = float(outputs['loss'].detach())
        if not math.isfinite(loss):
            rate = runner.optim_wrapper.get_lr()['lr'][0]
            path = _save_batch(runner, data_batch, loss, rate)
            error = UserError(
                f'the loss is {loss} {_where(runner, batch_idx)}, learning rate {rate:.3g}, '
                f'images in {path}; {_advice(runner)}'
            )
            if not getattr(runner, 'fail_later', lambda _: False)(error):
                raise error

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights that are about to be saved."""
        for name, tensor in checkpoint['state_dict'].items():
            if not tensor.is_floating_point():
                continue
            problem = '' if bool(torch.isfinite(tensor).all()) else 'is not finite'
            # Of decay rates the scan takes the exponential, and what overflows there decays to 0.
            if not problem and 'A_log' in name and not bool((tensor < LARGEST_LOG).all()):
                problem = f'has logarithms above {LARGEST_LOG}, whose exponential is not finite,'
            if problem:
                raise UserError(
                    f'{name} {problem} after step {runner.iter + 1}, so it was not saved; '
                    f'{_advice(runner)}'
                )


def _save_batch(runner: Runner, data_batch: dict | None, loss: float, rate: float) -> Path:
    """Write the step and the files of its images into the folder of the run."""
    samples = (data_batch or {}).get('data_samples', [])
    facts = {
        'step': runner.iter + 1,
        'epoch': runner.epoch + 1,
        'loss': str(loss),  # JSON has no NaN
        'learning_rate': rate,
        'images': [getattr(sample, 'img_path', None) for sample in samples],
    }
    path = Path(runner.work_dir, BATCH_FILE.format(get_rank()))
    write_atomically(path, (json.dumps(facts, indent=2) + '\n').encode())
    return path


def _where(runner: Runner, batch_idx: int) -> str:
    return f'at step {runner.iter + 1} (epoch {runner.epoch + 1}, batch {batch_idx + 1})'


def _advice(runner: Runner) -> str:
    return (
        f'training stopped and the checkpoints in {runner.work_dir} are as they were before: '
        'lower the learning rate, or train without --amp, and continue with --resume'
    )
