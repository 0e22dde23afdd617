"""Hook that logs the kernels at the start."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from memba_vision.ops.backends import describe_choice
from memba_vision.registry import HOOKS


@HOOKS.register_module()
class KernelReportHook(Hook):
    """Log the backend of each op on the device of the model."""

    def before_train(self, runner: Runner) -> None:
        """Log one line."""
        device = next(runner.model.parameters()).device
        # Large enough for every kernel: the question is what the machine has.
        runner.logger.info(describe_choice(torch.empty(1, 64, 64, device=device)))
