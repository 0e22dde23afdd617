"""Says at the start what trains."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from memba_vision.registry import HOOKS


@HOOKS.register_module()
class ParameterReportHook(Hook):
    """Logs how many parameters train, in the adapters and in the head, and their share."""

    def before_train(self, runner: Runner) -> None:
        """Log one line."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        runner.logger.info(describe_parameters(model))


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Trainable parameters and all parameters of ``module``."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)


def describe_parameters(model: nn.Module) -> str:
    """One line on what of a classifier trains."""
    trained, total = count_parameters(model)
    backbone, _ = count_parameters(model.backbone)
    return (
        f'Trained parameters: {backbone:,} in the adapters + {trained - backbone:,} in the head = '
        f'{trained:,} of {total:,} ({trained / total:.2%})'
    )
