"""Model of a run, without what distributes it."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def plain_model(runner: Runner) -> nn.Module:
    """Return the model of a run, without what distributes it over processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
