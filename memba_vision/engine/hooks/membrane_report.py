"""Hook that logs statistics of the membranes during training."""

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.hooks import RemovableHandle

from memba_vision.engine.plain_model import plain_model
from memba_vision.errors import UserError
from memba_vision.registry import HOOKS
from memba_vision.visualization.trace import GateCall, find_membranes, summarise, watch_gates


@HOOKS.register_module()
class MembraneReportHook(Hook):
    """Log potential, reset share and gate sparsity of each layer to the visualizer's backends.

    The names are ``membrane_potential/layer_00``, ``membrane_reset_share/layer_00`` and
    ``gate_sparsity/layer_00``, …: means over a batch, both directions and all channels; see
    :func:`memba_vision.visualization.trace.summarise`. Between reports nothing is watched and
    nothing computed. Training is not changed: no random number is drawn. A model that was compiled
    whole (mmengine's ``compile``) does not call hooks, and nothing is reported.

    Args:
        interval: steps from report to report, at least 1; the first step is reported too.

    Raises:
        UserError: ``interval`` is out of range.
    """

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise UserError(f'MembraneReportHook: interval must be at least 1, got {interval}')
        self.interval = interval
        self._handles: list[RemovableHandle] = []
        self._numbers: dict[str, torch.Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Say where there is nothing to report, as in some runs of a comparison."""
        if not find_membranes(plain_model(runner)):
            runner.logger.warning('MembraneReportHook: this model has no membrane to report')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Observe the coming step, if it is one to report."""
        if runner.iter % self.interval == 0 and is_main_process():
            self._handles = watch_gates(plain_model(runner), self._note)

    def _note(self, call: GateCall) -> None:
        # Activation checkpointing calls a gate again in the backward pass, with the same numbers.
        for name, number in summarise(call).items():
            self._numbers[f'{name}/layer_{call.layer:02d}'] = number

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Log the statistics of the observed step."""
        if not self._handles:
            return
        for handle in self._handles:
            handle.remove()
        numbers = {name: number.item() for name, number in self._numbers.items()}
        self._handles, self._numbers = [], {}
        runner.visualizer.add_scalars(numbers, step=runner.iter + 1)
