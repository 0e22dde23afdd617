"""The methods that are compared: adapters at the same ranks."""

from torch import nn

from benchmarking.setting import Sizes
from memba_vision.registry import ADAPTERS

LORA = 'LoRA alone'
MEMBA = "Memba, site 'lora'"
MEMBA_GATE = "Memba, site 'gate'"


def adapters(method: str, sizes: Sizes) -> list[dict]:
    """The configs of a method's adapters, as a model config has them."""
    lora = dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=sizes.rank)
    return {
        LORA: [lora],
        MEMBA: [lora, dict(type='LIM', site='lora')],
        MEMBA_GATE: [lora, dict(type='LIM', site='gate')],
    }[method]


def freeze_and_adapt(module: nn.Module, method: str, sizes: Sizes) -> nn.Module:
    """Freeze any module that has the projections, and attach a method's adapters to it."""
    module.requires_grad_(False)
    for config in adapters(method, sizes):
        ADAPTERS.build(config).attach(module)
    return module
