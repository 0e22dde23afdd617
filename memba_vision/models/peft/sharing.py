"""Adapted backbones that share the weights of one."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
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


def share_unchanged(adapted: nn.Module, original: nn.Module, copies: Mapping[int, Any]) -> None:
    """Put the tensors of ``original`` in the place of their copies that are still the same.

    Args:
        adapted: a copy of ``original`` with adapters; what trains stays its own.
        original: the backbone.
        copies: the memo of :func:`copy.deepcopy`, the copies by the ids of what they are of.
    """
    tensors = [*original.parameters(), *original.buffers()]
    originals = {id(copies[id(tensor)]): tensor for tensor in tensors}
    for module in adapted.modules():
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                shared = originals.get(id(tensor))
                if shared is not None and not tensor.requires_grad and torch.equal(tensor, shared):
                    own[name] = shared
