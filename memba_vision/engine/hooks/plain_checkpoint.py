"""Checkpoints that load without unpickling a Python object."""

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from memba_vision.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Leaves out of checkpoints what torch's safe loading refuses.

    That is the history of logged numbers, which mmengine keeps in objects of its own and which is
    of use for nothing but the smoothing of what is logged after a resumption (the log files hold
    those numbers), and NumPy's scalars, which become Python's.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Make plain what mmengine's message hub adds to a checkpoint."""
        hub = checkpoint['message_hub']
        hub['log_scalars'].clear()
        for name, value in hub['runtime_info'].items():
            if isinstance(value, np.generic):
                hub['runtime_info'][name] = value.item()
