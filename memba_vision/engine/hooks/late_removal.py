"""Hook that saves after some epochs or minutes, and removes old checkpoints after that alone."""

import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook, checkpoint_hook
from mmengine.runner import Runner

from memba_vision.registry import HOOKS

# It writes the path of the newest checkpoint into a file of text; a folder's name may be no UTF-8.
checkpoint_hook.open = partial(open, errors='surrogateescape')


@HOOKS.register_module()
class LateRemovalHook(CheckpointHook):
    """Checkpoint hook that removes an old checkpoint after the new one is written, not before.

    A full disk, weights that are not finite or a kill then leave as many as there were.

    Where ``interval`` counts epochs, it is the number after which one is saved at the latest: long
    ones are saved after ``max_minutes``. A crash, or a kill that leaves no time to save, costs the
    shorter of the two, and the epoch that was going on.

    Args:
        max_minutes: minutes after which the next finished epoch is saved.
        settings: see mmengine's ``CheckpointHook``. An ``interval`` below 1 saves by neither.
    """

    def __init__(self, *, max_minutes: float = 5, **settings: Any) -> None:
        super().__init__(**settings)
        self.max_minutes = max_minutes
        self._saved_at = 0.0

    def before_train(self, runner: Runner) -> None:
        """Start the clock."""
        super().before_train(runner)
        self._saved_at = time.monotonic()

    def every_n_epochs(self, runner: Runner, n: int, start: int = 0) -> bool:
        """Return True in the epochs after which a checkpoint is saved, the same in each process."""
        late = [time.monotonic() - self._saved_at >= 60 * self.max_minutes]
        broadcast_object_list(late)  # each has a clock of its own
        is_counted = super().every_n_epochs(runner, n, start)
        return is_counted or (late[0] and n > 0 and runner.epoch + 1 >= start)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        self._saved_at = time.monotonic()
        kept = self.max_keep_ckpts
        if kept <= 0:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        self.keep_ckpt_ids = deque(self.keep_ckpt_ids, kept + 1)
        self.max_keep_ckpts = kept + 1
        try:
            super()._save_checkpoint_with_step(runner, step, meta)
        finally:
            self.max_keep_ckpts = kept
        while len(self.keep_ckpt_ids) > kept:
            path = Path(self.out_dir, self.filename_tmpl.format(self.keep_ckpt_ids.popleft()))
            if is_main_process():
                path.unlink(missing_ok=True)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
