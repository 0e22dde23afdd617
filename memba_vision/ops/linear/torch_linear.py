"""torch's own linear map: the reference, and the fastest on a GPU."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from memba_vision.ops.linear import BACKENDS


@BACKENDS.register('torch', priority=0, portable=True)
def linear_torch(
    x: torch.Tensor,
    weights: Sequence[torch.Tensor],
    bias: torch.Tensor | None,
    added: torch.Tensor | None,
) -> list[torch.Tensor]:
    """Compute ``x @ weight.T`` for each weight; add ``bias`` and ``added`` to the first.

    Shapes are those of :func:`memba_vision.ops.linear.linear`, all tensors of one dtype.
    """
    first, *others = weights
    out = F.linear(x, first, bias)
    return [out if added is None else out + added, *(F.linear(x, weight) for weight in others)]
