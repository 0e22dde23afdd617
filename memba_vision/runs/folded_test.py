"""Hook that tests a model with its adapters folded."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from memba_vision.engine.plain_model import plain_model
from memba_vision.models.peft.folding import fold


class FoldedTestHook(Hook):
    """Fold the adapters for the images of a test, and put them back behind the last one.

    What other hooks do with the weights before a test (averages, for instance) comes first, and
    what they do after it finds the model as it was.
    """

    priority = 'VERY_HIGH'  # behind the last image, before the other hooks

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Fold before the first batch: all hooks have done then what they do before a test."""
        if batch_idx == 0:
            model = plain_model(runner)
            self._adapted = model.backbone
            model.backbone = fold(model.backbone)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Put the adapted backbone back."""
        plain_model(runner).backbone = self._adapted
