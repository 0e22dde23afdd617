"""Hook that keeps Python objects out of checkpoints, so that they load safely."""

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from memba_vision.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Remove the entries of checkpoints that torch's safe loading refuses.

    These are the history of logged numbers, which mmengine keeps in objects of its own and which
    only smooths the log after a resumption (the log files hold the numbers), and NumPy's scalars,
    which become Python's.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Convert the entries of mmengine's message hub to plain types."""
        hub = checkpoint['message_hub']
        hub['log_scalars'].clear()
        for name, value in hub['runtime_info'].items():
            if isinstance(value, np.generic):
                hub['runtime_info'][name] = value.item()
