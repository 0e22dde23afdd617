"""Hook that logs the numbers of trained parameters at the start."""

from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from memba_vision.engine.optim import check_rates
from memba_vision.engine.plain_model import plain_model
from memba_vision.models.parameter_counts import count_parameters
from memba_vision.registry import HOOKS


@HOOKS.register_module()
class ParameterReportHook(Hook):
    """Log the numbers of trained parameters in adapters and head, and their share.

    It warns of a frozen backbone whose config names no weights, and refuses an optimizer that lacks
    learning rates which adapters ask for.
    """

    def before_train(self, runner: Runner) -> None:
        """Log one line, or two."""
        model = plain_model(runner)
        check_rates(model, runner.optim_wrapper.optimizer)
        runner.logger.info(describe_parameters(model))
        if has_random_base(model):
            runner.logger.warning(
                'The frozen backbone has random weights, as no pre-trained ones are named: set '
                "model.backbone.module.init_cfg=dict(type='Pretrained', checkpoint=FILE)"
            )


def has_random_base(model: nn.Module) -> bool:
    """Return True if adapters train over a mostly frozen backbone without loaded weights."""
    base = getattr(getattr(model, 'backbone', None), 'module', None)
    if not hasattr(base, 'init_cfg'):
        return False
    trained, total = count_parameters(base)
    given = base.init_cfg if isinstance(base.init_cfg, list | tuple) else [base.init_cfg]
    named = any(isinstance(part, Mapping) and part.get('checkpoint') for part in given)
    return trained < total / 2 and not named


def describe_parameters(model: nn.Module) -> str:
    """Return a line on the trained parameters of a classifier."""
    trained, total = count_parameters(model)
    backbone, _ = count_parameters(model.backbone)
    return (
        f'Trained parameters: {backbone:,} in the adapters + {trained - backbone:,} in the head = '
        f'{trained:,} of {total:,} ({trained / total:.2%})'
    )
