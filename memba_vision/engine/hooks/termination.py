"""Hook that saves the work of a run that is terminated."""

import contextlib
import os
from collections.abc import Iterator

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from memba_vision.engine.agreement import Agreement
from memba_vision.engine.checkpoint_folders import checkpoint_hooks, is_remote
from memba_vision.engine.peers import OtherFailed
from memba_vision.errors import GO_ON, Terminated
from memba_vision.files import write_atomically
from memba_vision.registry import HOOKS

FAILED = 1000  # higher than the number of any signal


@HOOKS.register_module()
class TerminationHook(Hook):
    """End a run on SIGTERM, its time limit or Ctrl-C, with a checkpoint to resume from.

    Runs resume from the end of an epoch, so that they draw the same numbers as without the
    interruption. The checkpoint of the last finished epoch is therefore kept in memory, unless it
    was written anyway, and written to the disk when the signal comes: at most one epoch is lost
    though few of them are written. A run that counts steps saves its current state. The
    checkpoint is written as well where another hook ends a training before its last epoch.
    """

    priority = 'LOWEST'  # after the hook that writes checkpoints

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.unsaved = ''  # the path of a finished epoch that was not written, in every process
        self.agreement = Agreement()
        self.told: Exception | None = None  # the failure that the others know of

    def before_train(self, runner: Runner) -> None:
        """Connect the processes that are to end together."""
        self.agreement.begin()

    def after_train_epoch(self, runner: Runner) -> None:
        """Keep the checkpoint of this epoch."""
        self.unsaved = ''
        folder, name = _destination(runner, runner.epoch + 1, by_epoch=True)
        path = os.path.join(folder, name)
        if not _saves_epochs(runner) or runner.message_hub.runtime_info.get('last_ckpt') == path:
            self.held = {}
            return
        with _counted_among_the_kept(runner):
            # The one before until it is whole.
            self.held = _checkpoint(runner, folder, name, by_epoch=True)
        self.unsaved = path

    def after_train(self, runner: Runner) -> None:
        """Write the held checkpoint if the training ended before its last epoch."""
        hook = next((hook for hook in checkpoint_hooks(runner) if hook.save_last), None)
        if self.unsaved and hook is not None and runner.epoch < runner.max_epochs:
            self.save()
            hook.last_ckpt = self.unsaved

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """End the run if one of its processes failed, or was asked to end."""
        termination = getattr(runner, 'termination', None)  # mmengine's own runner has none
        if termination is None:
            return
        number = FAILED if termination.failure else termination.signal
        is_last = _is_last_step(runner, batch_idx)
        told, self.told = self.told, termination.failure
        number = self.agreement.after_step(number, at_once=is_last)
        if number == FAILED:  # weights that one process spoilt make the others fail a step later
            raise told or (self.told if is_last else None) or OtherFailed
        if number:
            termination.signal = number
            if not _saves_epochs(runner):
                destination = _destination(runner, runner.iter + 1, by_epoch=False)
                self.held = _checkpoint(runner, *destination, by_epoch=False)
            self.end(runner)

    def end(self, runner: Runner) -> None:
        """Write the held checkpoint, and raise ``Terminated``."""
        self.save()
        folder, _ = _destination(runner, 0, by_epoch=True)
        raise Terminated(
            f'stopped {runner.termination.reason()} in epoch {runner.epoch + 1} at step '
            f'{runner.iter + 1}; what is saved is in {folder}{GO_ON}'
        )

    def save(self) -> str:
        """Write the held checkpoint, if there is one, and return its path or ''."""
        if is_main_process():
            for path, content in self.held.items():
                write_atomically(path, content)
        return next(iter(self.held), '')


def _is_last_step(runner: Runner, batch_idx: int) -> bool:
    """Return True for the last step of an epoch, or of a training that counts steps."""
    if _saves_epochs(runner):
        return batch_idx + 1 == len(runner.train_dataloader)
    return runner.iter + 1 == runner.max_iters


def _destination(runner: Runner, step: int, by_epoch: bool) -> tuple[str, str]:
    """Return the folder and the name that the hook that saves checkpoints would choose."""
    usual = 'epoch_{}.pth' if by_epoch else 'iter_{}.pth'
    hook = next(iter(checkpoint_hooks(runner)), None)
    if hook is None or hook.out_dir is None or is_remote(hook.out_dir):
        return runner.work_dir, usual.format(step)
    template = hook.filename_tmpl if hook.by_epoch == by_epoch else usual
    return str(hook.out_dir), template.format(step)


def _checkpoint(runner: Runner, folder: str, name: str, by_epoch: bool) -> dict[str, bytes]:
    """Return path and content of a checkpoint of the current state; {} in all other processes."""
    held: dict[str, bytes] = {}
    backend = dict(backend='held', held=held)
    runner.save_checkpoint(folder, name, by_epoch=by_epoch, backend_args=backend)
    return held


@contextlib.contextmanager
def _counted_among_the_kept(runner: Runner) -> Iterator[None]:
    """List this epoch's checkpoint among those on the disk, so that it is removed in its turn."""
    hub = runner.message_hub
    before = hub.runtime_info.get('keep_ckpt_ids')
    hub.update_info('keep_ckpt_ids', [*(before or []), runner.epoch + 1])
    try:
        yield
    finally:
        if before is None:
            hub.pop_info('keep_ckpt_ids')
        else:
            hub.update_info('keep_ckpt_ids', before)


def _saves_epochs(runner: Runner) -> bool:
    return isinstance(runner.train_loop, EpochBasedTrainLoop)
