"""The causal depthwise convolution through torch's own."""

import torch
import torch.nn.functional as F

from memba_vision.ops.causal_conv1d.table import BACKENDS


@BACKENDS.register('torch', priority=0, portable=True)
def causal_conv1d_torch(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool
) -> torch.Tensor:
    """See :func:`memba_vision.ops.causal_conv1d`: padded in front, or behind and mirrored."""
    past = weight.shape[-1] - 1
    if reverse:
        x, weight = F.pad(x, (0, past)), weight.flip(-1)
    else:
        x = F.pad(x, (past, 0))
    out = F.conv1d(x, weight[:, None], bias, groups=len(weight))
    return F.silu(out) if silu else out
