"""Adapted backbones that share the weights of one."""

import copy

from torch import nn


def copy_sharing_weights(module: nn.Module) -> nn.Module:
    """Return a copy of ``module`` that shares its parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def copy_trainable_parameters(adapted: nn.Module, original: nn.Module) -> None:
    """Replace the parameters that ``adapted`` trains and shares with ``original`` by copies.

    Otherwise loading a trained position embedding, for instance, would change the original's too.
    """
    shared = {id(parameter) for parameter in original.parameters()}
    for module in adapted.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in shared and parameter.requires_grad:
                setattr(module, name, nn.Parameter(parameter.detach().clone()))
                parameter.requires_grad_(False)
