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
        info = hub['runtime_info']
        # Of a key that is listed and not there, a resumed training would warn.
        hub['resumed_keys'] = {k: kept for k, kept in hub['resumed_keys'].items() if k in info}
        for name, value in info.items():
            if isinstance(value, np.generic):
                info[name] = value.item()
