"""The causal depthwise convolution by torch's convolution of a padded sequence."""

import torch
import torch.nn.functional as F

from memba_vision.ops.causal_conv1d import BACKENDS


@BACKENDS.register('torch', priority=0, portable=True)
def causal_conv1d_torch(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool
) -> torch.Tensor:
    """See :func:`memba_vision.ops.causal_conv1d`.

    Filters whose dtype differs from the sequence's are applied in float32 or wider. An autocast
    region chooses its own dtype.
    """
    others = [tensor for tensor in (weight, bias) if tensor is not None]
    mixed = any(tensor.dtype != x.dtype for tensor in others)
    if mixed and not torch.is_autocast_enabled(x.device.type):
        dtype = torch.promote_types(x.dtype, torch.float32)
        bias = None if bias is None else bias.to(dtype)
        out = causal_conv1d_torch(x.to(dtype), weight.to(dtype), bias, silu, reverse)
        return out.to(x.dtype)
    past = weight.shape[-1] - 1
    if reverse:
        x, weight = F.pad(x, (0, past)), weight.flip(-1)
    else:
        x = F.pad(x, (past, 0))
    out = F.conv1d(x, weight[:, None], bias, groups=len(weight))
    return F.silu(out) if silu else out
