"""Hook that lets a resumed training choose and stop by its validations as an undisturbed one."""

from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from memba_vision.engine.checkpoint_folders import checkpoint_hooks
from memba_vision.registry import HOOKS

INFO = 'memba_vision_early_stopping'


@HOOKS.register_module()
class ResumedValidationHook(Hook):
    """Bring a resumed training to where it was after the validation of its last epoch.

    The checkpoint of an epoch is written before the epoch is validated, and mmengine leaves the
    counts of early stopping out of it. So this hook writes these into each checkpoint, and a
    resumed training that chooses or stops by a metric validates the epoch that it goes on from
    first. Without, a later and worse epoch could be taken for the best one.
    """

    priority = 'LOWEST'  # after the hook that saves checkpoints knows the best one so far

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the counts of early stopping."""
        stopping = _stopping(runner)
        if stopping:
            hub = checkpoint['message_hub']
            hub['resumed_keys'][INFO] = True
            counts = [(float(hook.best_score), hook.wait_count) for hook in stopping]
            hub['runtime_info'][INFO] = counts

    def before_train(self, runner: Runner) -> None:
        """Validate the epoch of the checkpoint that a training is resumed from."""
        loop, stopping = runner.train_loop, _stopping(runner)
        chooses = any(hook.save_best for hook in checkpoint_hooks(runner))
        if not (isinstance(loop, EpochBasedTrainLoop) and loop.epoch and (stopping or chooses)):
            return
        counts = runner.message_hub.runtime_info.get(INFO, [])
        for hook, (best, wait) in zip(stopping, counts, strict=False):
            hook.best_score, hook.wait_count = best, wait
        is_due = loop.epoch % loop.val_interval == 0 or loop.epoch == loop.max_epochs
        if runner.val_loop is not None and loop.epoch >= loop.val_begin and is_due:
            runner.val_loop.run()


def _stopping(runner: Runner) -> list[EarlyStoppingHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]
