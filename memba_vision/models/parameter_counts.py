"""The number of parameters of a module, and of those that train."""

from torch import nn


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """Count the trainable parameters and all parameters of ``module``."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)
