"""Gates, which weight and merge the scans of a mixer.

A gate is called as ``gate(scans, gate_input, state) -> (merged, state)``. It weights the scan of
the forward direction and that of the backward direction, in this order; where the mixer has merged
its directions already, there is one map in their place, and the gates of both directions weight
that. The mixer hands it the output of its ``in_proj`` beside ``x``, and the state that the gate
of the block before returned; it returns its own state for the block after. A gate that needs none
passes on what it gets. PEFT methods replace the module.
"""

import torch
from torch import nn

from memba_vision.ops import gated_merge

#: State that a gate hands to the gate of the next block: a tuple of tensors, or None.
GateState = tuple[torch.Tensor, ...] | None
#: Inputs that a gate weights: the scans of both directions, or the one map that they make.
Scans = tuple[torch.Tensor, torch.Tensor] | tuple[torch.Tensor]


class SiLUGate(nn.Module):
    """The plain gate: both directions share it, so it is applied once, to their mean.

    ``merged = (scans[0] + scans[-1]) / 2 * silu(z)``
    """

    def forward(
        self, scans: Scans, gate_input: torch.Tensor, state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """Merge the directions.

        Args:
            scans: each (batch, length, d_inner) in image order.
            gate_input: ``z``, (batch, length, d_inner).
            state: passed on.

        Returns:
            The merged sequence, (batch, length, d_inner), and ``state``.
        """
        return gated_merge(scans[0], scans[-1], gate_input), state
