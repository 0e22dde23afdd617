"""Gates: how the two scan directions of a mixer are weighted and merged.

A gate is called as ``gate(forward_scan, backward_scan, gate_input, state) -> (merged, state)``.
The mixer hands it whatever its ``in_proj`` yields beside ``x``, and the state that the gate of the
block before returned; it returns its own state for the block after. A gate that
needs none passes on what it gets. PEFT methods replace the module.
"""

import torch
from torch import nn

from memba_vision.ops import gated_merge

#: What a gate hands to the gate of the next block: a tuple of tensors, or None.
GateState = tuple[torch.Tensor, ...] | None


class SiLUGate(nn.Module):
    """The gate of Vim: both directions share it, so it is applied once, to their mean.

    ``merged = (forward_scan + backward_scan) / 2 * silu(z)``
    """

    def forward(
        self,
        forward_scan: torch.Tensor,
        backward_scan: torch.Tensor,
        gate_input: torch.Tensor,
        state: GateState = None,
    ) -> tuple[torch.Tensor, GateState]:
        """Merge the directions.

        Args:
            forward_scan: (batch, length, d_inner).
            backward_scan: (batch, length, d_inner), in image order.
            gate_input: ``z``, (batch, length, d_inner).
            state: passed on.

        Returns:
            The merged sequence, (batch, length, d_inner), and ``state``.
        """
        return gated_merge(forward_scan, backward_scan, gate_input), state
