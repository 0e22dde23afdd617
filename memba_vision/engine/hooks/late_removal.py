"""Hook that removes old checkpoints only after the new one is complete."""

from collections import deque
from functools import partial
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, checkpoint_hook
from mmengine.runner import Runner

from memba_vision.registry import HOOKS

# It writes the path of the newest checkpoint into a file of text; a folder's name may be no UTF-8.
checkpoint_hook.open = partial(open, errors='surrogateescape')


@HOOKS.register_module()
class LateRemovalHook(CheckpointHook):
    """Checkpoint hook that removes an old checkpoint after the new one is written, not before.

    A full disk, weights that are not finite or a kill then leave as many as there were.
    """

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
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
