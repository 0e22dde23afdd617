"""Says at the start which kernels run."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from memba_vision.ops.backends import describe_choice
from memba_vision.registry import HOOKS


@HOOKS.register_module()
class KernelReportHook(Hook):
    """Logs which backend each op takes on the device of the model."""

    def before_train(self, runner: Runner) -> None:
        """Log one line."""
        device = next(runner.model.parameters()).device
        # Large enough for every kernel: what is asked is what the machine has.
        runner.logger.info(describe_choice(torch.empty(1, 64, 64, device=device)))
