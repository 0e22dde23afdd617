"""Tensors of a linear map in the dtype of autocast; frozen weights are converted once.

torch's autocast keeps the converted weights of a forward pass if they are trained, and converts
frozen ones at every use.
"""

from dataclasses import dataclass

import torch
from torch.utils.weak import WeakTensorKeyDictionary

#: Numbers of a weight that are compared to see that it is still the same.
SAMPLES = 64


@dataclass(frozen=True)
class _Converted:
    weight: torch.Tensor
    version: int
    sample: torch.Tensor


_converted = WeakTensorKeyDictionary()


def in_autocast_dtype(*tensors: torch.Tensor | None) -> list[torch.Tensor | None]:
    """Return tensors as the present autocast region wants them, each of them unchanged outside."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    dtype = torch.get_autocast_dtype(device)
    return [None if tensor is None else _convert(tensor, dtype) for tensor in tensors]


def is_wider(tensor: torch.Tensor) -> bool:
    """Return True for a tensor that the present autocast region would round."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device):
        return False
    return tensor.dtype.itemsize > torch.get_autocast_dtype(device).itemsize


def _convert(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if tensor.dtype in (dtype, torch.float64):  # torch leaves float64 alone, too
        return tensor
    if tensor._is_view() and _is_kept(tensor._base) and tensor._base.is_contiguous():
        whole = _convert(tensor._base, dtype)
        # Neither has to begin where its memory does.
        offset = whole.storage_offset() + tensor.storage_offset() - tensor._base.storage_offset()
        return whole.as_strided(tensor.shape, tensor.stride(), offset)
    if not _is_kept(tensor):
        return tensor.to(dtype)
    kept = _converted.get(tensor)
    if kept is None or not _is_current(kept, tensor, dtype):
        with torch.inference_mode(False):  # or it could not be used in a training later
            kept = _Converted(tensor.detach().to(dtype), tensor._version, _sample(tensor).clone())
        _converted[tensor] = kept
    return kept.weight


def _is_kept(tensor: torch.Tensor) -> bool:
    return (
        isinstance(tensor, torch.nn.Parameter)
        and not tensor.requires_grad
        and tensor.device.type == 'cpu'  # elsewhere the comparison would wait for the device
        and not tensor.is_inference()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )


def _is_current(kept: _Converted, tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    """Return True if the weight was not changed since it was converted, by ``.data`` neither."""
    return (
        kept.weight.dtype == dtype
        and kept.version == tensor._version
        and torch.equal(kept.sample, _sample(tensor))
    )


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().flatten()
    return flat[:: max(1, len(flat) // SAMPLES)]
