"""Hook that records the time and the memory of a training."""

import resource
import sys
import time

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from memba_vision.engine.plain_model import plain_model
from memba_vision.engine.selection import selection_seconds
from memba_vision.registry import HOOKS

INFO = 'memba_vision_cost'
MEBIBYTE = 2**20


@HOOKS.register_module()
class CostHook(Hook):
    """Write the time and the peak memory of the training into each checkpoint.

    A resumed run adds to the numbers in its checkpoint. Steps that were lost with an interruption,
    and done again, count once. After a checkpoint without such numbers, the cost stays unknown.

    The time is that of the training loop in seconds, with saving and validation, and of the
    selection by data before it. The memory is, in
    MiB, what torch allocated on the GPU; without one, the resident memory of the process. Of a
    distributed run, it is that of the first process.
    """

    def __init__(self) -> None:
        self._earlier: dict[str, float] = {}
        self._start = 0.0

    def before_train(self, runner: Runner) -> None:
        """Start the clock, and take over the cost recorded in the checkpoint of a resumed run."""
        nothing_yet = dict(seconds=selection_seconds(plain_model(runner)), peak_memory_mib=0.0)
        resumed = runner.iter > 0
        self._earlier = runner.message_hub.runtime_info.get(INFO, {}) if resumed else nothing_yet
        self._start = time.monotonic()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the cost until now."""
        if self._earlier:
            hub = checkpoint['message_hub']
            hub['resumed_keys'][INFO] = True
            hub['runtime_info'][INFO] = dict(
                seconds=self._earlier['seconds'] + time.monotonic() - self._start,
                peak_memory_mib=max(self._earlier['peak_memory_mib'], peak_memory_mib()),
            )


def recorded_cost(checkpoint: dict) -> dict[str, float]:
    """Return the cost of a training checkpoint, ``seconds`` and ``peak_memory_mib``, or {}."""
    return checkpoint.get('message_hub', {}).get('runtime_info', {}).get(INFO, {})


def peak_memory_mib() -> float:
    """Return the peak memory in MiB: allocated by torch on the GPU, or resident in the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / MEBIBYTE
    unit = 1 if sys.platform == 'darwin' else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEBIBYTE
