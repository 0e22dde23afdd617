"""Hook that records the loss and the accuracy of each epoch for reports."""

import contextlib
import json
import os
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from memba_vision.engine.metric_names import TOP1
from memba_vision.files import CURVE_FILE
from memba_vision.registry import HOOKS

STEPS = 10  # at the end of an epoch, over which the loss is averaged


@HOOKS.register_module()
class LossCurveHook(Hook):
    """Append epoch and loss to a file of the run's folder, whatever its loggers write.

    The loss is the mean over the last steps of an epoch, of the first process. A validation adds a
    line with its top-1 accuracy. Of an epoch that was run twice, the later line counts.
    """

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []

    def before_train_epoch(self, runner: Runner) -> None:
        """Forget the losses of the epoch before."""
        self.losses = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Note the loss of the step, on its device."""
        if 'loss' in (outputs or {}):
            self.losses = [*self.losses[1 - STEPS :], outputs['loss'].detach()]

    def after_train_epoch(self, runner: Runner) -> None:
        """Append a line."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if not (by_epoch and self.losses and is_main_process()):
            return
        self._append(runner, runner.epoch + 1, 'loss', float(torch.stack(self.losses).mean()))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Append a line for a validation in the training."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if by_epoch and TOP1 in (metrics or {}) and is_main_process():
            self._append(runner, runner.epoch, TOP1, float(metrics[TOP1]))

    def _append(self, runner: Runner, epoch: int, name: str, value: float) -> None:
        entry = {'epoch': epoch, name: value}
        # A full disk is told by the checkpoint that finds no room.
        with contextlib.suppress(OSError), Path(runner.work_dir, CURVE_FILE).open('ab+') as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
            # A kill may end the file within a line.
            before = '' if file.read(1) in (b'', b'\n') else '\n'
            file.write(f'{before}{json.dumps(entry)}\n'.encode())
