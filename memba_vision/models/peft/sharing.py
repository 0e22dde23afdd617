"""Adapted backbones that share the weights of one."""

import copy
from collections.abc import Iterator

from torch import nn


def copy_sharing_weights(module: nn.Module) -> nn.Module:
    """Return a copy of ``module`` that shares its parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def trained_norms(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the norms with running statistics whose parameters all train."""
    for norm in module.modules():
        parameters = [*norm.parameters(recurse=False)]
        has_statistics = getattr(norm, 'running_mean', None) is not None
        if has_statistics and parameters and all(p.requires_grad for p in parameters):
            yield norm


def copy_trained_tensors(adapted: nn.Module, original: nn.Module) -> None:
    """Replace what ``adapted`` trains and shares with ``original`` by copies.

    These are parameters, and the statistics of norms that train: loading those of an adapter would
    change the original's too.
    """
    for norm in trained_norms(adapted):
        for name, buffer in norm.named_buffers(recurse=False):
            norm.register_buffer(name, buffer.detach().clone())
    shared = {id(parameter) for parameter in original.parameters()}
    for module in adapted.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in shared and parameter.requires_grad:
                setattr(module, name, nn.Parameter(parameter.detach().clone()))
                parameter.requires_grad_(False)
