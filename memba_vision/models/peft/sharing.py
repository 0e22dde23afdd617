"""Several adapted backbones over the weights of one."""

import copy

from torch import nn


def copy_sharing_weights(module: nn.Module) -> nn.Module:
    """A copy of ``module`` whose parameters and buffers are those of the original."""
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def own_what_trains(adapted: nn.Module, original: nn.Module) -> None:
    """Give ``adapted`` copies of the parameters of ``original`` that its adapters let train.

    Without it, loading a trained position embedding, say, would change the original's too.
    """
    shared = {id(parameter) for parameter in original.parameters()}
    for module in adapted.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in shared and parameter.requires_grad:
                setattr(module, name, nn.Parameter(parameter.detach().clone()))
                parameter.requires_grad_(False)
