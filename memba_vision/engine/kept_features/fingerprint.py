"""Fingerprints of all that features depend on beside the images."""

from typing import Any

import torch
from torch import nn

from memba_vision.ops.backends import describe_choice
from memba_vision.weights import fingerprint


def settings_of(backbone: nn.Module, device: torch.device) -> str:
    """Return weights, precision, versions and kernels as text.

    Args:
        backbone: in its mode, and in the context, of the computation.
        device: the device of its inputs.
    """
    tensors = {**dict(backbone.named_parameters()), **dict(backbone.named_buffers())}
    kind = device.type
    facts = (
        fingerprint(tensors),
        backbone.training,
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)),
        (torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()),
        torch.cuda.get_device_name(device) if kind == 'cuda' else '',
        describe_choice(torch.empty(1, 64, 64, device=device)),
    )
    return repr(facts)


def state_of(backbone: nn.Module) -> tuple[Any, ...]:
    """Return what changes as soon as weights, buffers or modes of a backbone are changed."""
    tensors = (*backbone.parameters(), *backbone.buffers())
    return (
        [(id(tensor), tensor._version, tensor.requires_grad) for tensor in tensors],
        [module.training for module in backbone.modules()],
    )
