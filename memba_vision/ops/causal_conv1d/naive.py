"""The causal depthwise convolution, position by position."""

import torch
import torch.nn.functional as F

from memba_vision.ops.causal_conv1d import BACKENDS


@BACKENDS.register('naive', priority=-2, portable=True)
def causal_conv1d_naive(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool
) -> torch.Tensor:
    """See :func:`memba_vision.ops.causal_conv1d`: the reference for every other backend."""
    out_dtype, work_dtype = x.dtype, torch.promote_types(x.dtype, torch.float32)
    x, weight = x.to(work_dtype), weight.to(work_dtype)
    length, width = x.shape[-1], weight.shape[-1]
    outputs = []
    for t in range(length):
        out = torch.zeros_like(x[:, :, 0])
        for tap in range(width):
            lag = width - 1 - tap
            source = t + lag if reverse else t - lag
            if 0 <= source < length:
                out = out + weight[:, tap] * x[:, :, source]
        outputs.append(out if bias is None else out + bias.to(work_dtype))
    out = torch.stack(outputs, dim=-1)
    return (F.silu(out) if silu else out).to(out_dtype)
