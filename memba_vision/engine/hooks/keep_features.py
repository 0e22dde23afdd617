"""Hook that computes the features of a frozen backbone once for all epochs."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner, ValLoop
from mmengine.runner.amp import autocast
from torch import nn

from memba_vision.engine.kept_features.classifier import OnKeptFeatures
from memba_vision.engine.kept_features.computing import Purpose
from memba_vision.engine.kept_features.loader import KeptLoader
from memba_vision.engine.kept_features.reasons import reason_of_data, reason_of_run, trains
from memba_vision.engine.kept_features.store import IN_MEMORY
from memba_vision.engine.plain_model import plain_model
from memba_vision.registry import HOOKS

FOLDER = 'features'  # in the run's


@HOOKS.register_module()
class KeepFeaturesHook(Hook):
    """Keep the features of training and validation where all that trains lies behind the backbone.

    The loops' data loaders become :class:`~memba_vision.engine.kept_features.loader.KeptLoader`,
    and the model starts behind its backbone, until the training ends. Results are the same bits as
    without. Where anything random is in the way, the reason is logged and nothing changes.

    Args:
        limit: bytes of features that stay in memory; more are mapped from a file in the run's
            folder, which is removed at the end and used again by a run that is resumed.
    """

    priority = 'LOWEST'  # the others see the plain model before the training

    def __init__(self, limit: int = IN_MEMORY) -> None:
        self.limit = limit
        self._plain: nn.Module | None = None
        self._loops: list = []

    def before_train(self, runner: Runner) -> None:
        """Put loaders and model in place, or log the reason why not."""
        plain = plain_model(runner)
        backbone = getattr(plain, 'backbone', None)
        if backbone is None or trains(backbone):
            return  # nothing that anybody would expect to be kept
        runner.model.train()  # as it is about to be
        reason = reason_of_run(runner)
        if reason is not None:
            runner.logger.info(f'Features are computed anew each epoch: {reason}')
            return
        model = runner.model
        for loop, purpose in self._uses(runner):
            reason = reason_of_data(loop.dataloader)
            if reason is None:
                loop.dataloader = KeptLoader(loop.dataloader, model, purpose)
                self._loops.append(loop)
            else:
                runner.logger.info(
                    f'Features of the {purpose.name} are computed anew each epoch: {reason}'
                )
        if self._loops:
            self._plain, runner.model = model, OnKeptFeatures(model)

    def after_train(self, runner: Runner) -> None:
        """Put back the plain loaders and the plain model, and remove files."""
        for loop in self._loops:
            _remove(loop.dataloader.purpose.file)
            loop.dataloader = loop.dataloader.loader
        if self._plain is not None:
            runner.model = self._plain
        self._plain, self._loops = None, []

    def _uses(self, runner: Runner) -> Iterator[tuple[EpochBasedTrainLoop | ValLoop, Purpose]]:
        """Yield the loops that come to an image twice, with the use of their batches."""
        common = dict(
            is_ending=lambda: getattr(getattr(runner, 'termination', None), 'requested', False),
            report=runner.logger.info,
            limit=self.limit,
        )
        folder, loop = Path(runner.work_dir, FOLDER), runner.train_loop
        epochs = range(loop.epoch + 1, loop.max_epochs + 1)
        if len(epochs) * len(loop.dataloader.sampler) > len(loop.dataloader.dataset):
            precision = partial(runner.optim_wrapper.optim_context, runner.model)
            yield loop, Purpose('training images', folder / 'train.bin', True, precision, **common)
        if type(runner.val_loop) is ValLoop and len(_validated(epochs, loop)) > 1:
            precision = partial(_of_validation, runner.val_loop.fp16)
            yield (
                runner.val_loop,
                Purpose('validation images', folder / 'val.bin', False, precision, **common),
            )


def _validated(epochs: range, loop: EpochBasedTrainLoop) -> list[int]:
    """Return the epochs that a validation follows."""
    chosen = (e for e in epochs if e >= loop.val_begin)
    return [e for e in chosen if e % loop.val_interval == 0 or e == loop.max_epochs]


@contextmanager
def _of_validation(fp16: bool) -> Iterator[None]:
    with torch.no_grad(), autocast(enabled=fp16):
        yield


def _remove(file: Path) -> None:
    """Remove a file, and its folder with the last one."""
    if file.is_file():
        file.unlink()
        if not any(file.parent.iterdir()):
            file.parent.rmdir()
