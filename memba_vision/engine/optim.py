"""Constructor of optimizers for partly frozen models, and mixed precision on a CPU."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn

from memba_vision.errors import UserError
from memba_vision.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

#: Names of the instructions that multiply bfloat16 in LLVM, on x86 and on ARM.
BFLOAT16_FEATURES = ('avx512bf16', 'amx-bf16', 'bf16')
SLOW_BFLOAT16 = (
    'This CPU has no instructions for bfloat16: --amp will not make the training faster. Leave it '
    'out'
)


def multiplies_bfloat16() -> bool:
    """Return False if the CPU has no instructions that multiply bfloat16, as far as is known."""
    try:
        from llvmlite.binding import get_host_cpu_features

        features = get_host_cpu_features()
    except (ImportError, RuntimeError):  # numba is not installed, or knows no such CPU
        return True
    return any(features.get(name) for name in BFLOAT16_FEATURES)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor:
    """Build the optimizer over the trained parameters, in groups with and without decay.

    mmengine's own constructor makes a group of each parameter, frozen ones too, which costs a
    launch each. Vectors (biases, norms) and the parameters that a module lists in
    ``no_weight_decay`` are not decayed. Parameters of a module with an ``lr_factor`` have groups of
    their own, at that many times the learning rate (LoRA+).

    Args:
        optim_wrapper_cfg: config of the optim wrapper, its ``optimizer`` included.
        paramwise_cfg: not supported; must be None.

    Raises:
        UserError: there is a ``paramwise_cfg``.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: None = None) -> None:
        if paramwise_cfg:
            raise UserError(
                'TrainableOptimWrapperConstructor takes no paramwise_cfg, got '
                f'{", ".join(paramwise_cfg)}: leave it out (vectors, and what the backbone '
                'exempts, are not decayed), or set optim_wrapper.constructor to '
                'DefaultOptimWrapperConstructor or LearningRateDecayOptimWrapperConstructor'
            )
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optim wrapper for ``model``."""
        model = getattr(model, 'module', model)
        config = dict(self.optim_wrapper_cfg)
        optimizer = dict(config.pop('optimizer'))
        decayed, not_decayed = split_by_decay(model)
        groups = [{'params': decayed}, {'params': not_decayed, 'weight_decay': 0.0}]
        factors = lr_factors(model)
        optimizer['params'] = [
            part for group in groups for part in _split_by_rate(group, optimizer.get('lr'), factors)
        ]
        config.setdefault('type', 'OptimWrapper')
        if config['type'] == 'AmpOptimWrapper' and not _has_accelerator(model):
            # The wrapper that mmpretrain's --amp sets needs a GPU; its loss scale is for float16.
            config = {k: v for k, v in config.items() if k not in ('loss_scale', 'dtype')}
            config['type'] = 'BFloat16OptimWrapper'
            print_log('Without a GPU, mixed precision is bfloat16 autocast', 'current')
            if not multiplies_bfloat16():
                print_log(SLOW_BFLOAT16, 'current', logging.WARNING)
        return OPTIM_WRAPPERS.build(config, default_args={'optimizer': OPTIMIZERS.build(optimizer)})


def _has_accelerator(model: nn.Module) -> bool:
    return next(model.parameters()).device.type != 'cpu'


def _exempt_from_decay(module: nn.Module) -> set[str]:
    """Return the names in ``no_weight_decay``, a list here and a method of timm's models."""
    names = getattr(module, 'no_weight_decay', ())
    return {name.rpartition('.')[2] for name in (names() if callable(names) else names)}


def split_by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trainable parameters of ``model``: those with weight decay, and those without."""
    exempt = {name for module in model.modules() for name in _exempt_from_decay(module)}
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[parameter.ndim < 2 or name.rpartition('.')[2] in exempt].append(parameter)
    return groups


def lr_factors(model: nn.Module) -> dict[int, float]:
    """Return the factors of the learning rate that modules ask for, by ``id`` of the parameter."""
    return {
        id(parameter): module.lr_factor
        for module in model.modules()
        if getattr(module, 'lr_factor', 1.0) != 1.0
        for parameter in module.parameters(recurse=False)
        if parameter.requires_grad
    }


def _split_by_rate(group: dict, rate: float | None, factors: dict[int, float]) -> Iterator[dict]:
    """Yield the parts of a group of parameters that have one learning rate each."""
    if factors and rate is None:
        raise UserError(
            'an adapter asks for a multiple of the learning rate (up_lr_factor of LoRA), and the '
            'optimizer has none: set optim_wrapper.optimizer.lr'
        )
    parts = {}
    for parameter in group['params']:
        parts.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
    for factor in sorted(parts):
        own = {} if factor == 1.0 else {'lr': factor * rate}
        yield {**group, 'params': parts[factor], **own}


def check_rates(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Raise a UserError where an optimizer lacks learning rates that the modules ask for.

    Other constructors than :class:`TrainableOptimWrapperConstructor` know nothing of them.
    """
    factors = lr_factors(model)
    rates = {
        id(p): group.get('initial_lr', group['lr'])
        for group in optimizer.param_groups
        for p in group['params']
    }
    plain = {rate for parameter, rate in rates.items() if parameter not in factors}
    for parameter, factor in factors.items():
        if plain and not any(math.isclose(rates[parameter], factor * rate) for rate in plain):
            raise UserError(
                f'an adapter asks for {factor} times the learning rate for some of its weights, '
                'and the optimizer does not have it: set optim_wrapper.constructor to '
                "'TrainableOptimWrapperConstructor', or up_lr_factor of LoRA to 1"
            )


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast, on a CPU as on a GPU.

    bfloat16 has the range of float32: it needs no loss scaling, and vision Mambas are known for
    NaN losses under float16.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enable autocast around the forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
