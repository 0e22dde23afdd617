"""torch's own linear map: the reference, and the fastest on a GPU."""

import torch
import torch.nn.functional as F

from memba_vision.ops.linear import BACKENDS


@BACKENDS.register('torch', priority=0, portable=True)
def linear_torch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """See :func:`memba_vision.ops.linear`."""
    return F.linear(x, weight, bias)
