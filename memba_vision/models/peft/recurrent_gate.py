"""LSTM or GRU in the place of Memba's membrane, the paper's baselines for LIM."""

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.gates import GateState
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.low_rank_gate import TAP_STAYS, check_taps, tap_gates
from memba_vision.registry import ADAPTERS

CELLS = {'lstm': nn.LSTM, 'gru': nn.GRU}


class RecurrentMembrane(nn.Module):
    """Recurrent network per direction, each in its own scan order, from position to position.

    ``torch.compile`` does not take torch's recurrent networks.

    Args:
        cell: a key of ``CELLS``.
        like: a parameter of shape (dim, …) whose device and dtype are taken.
    """

    def __init__(self, cell: str, like: torch.Tensor) -> None:
        super().__init__()
        dim = len(like)
        settings = dict(batch_first=True, device=like.device, dtype=like.dtype)
        self.forward_net = CELLS[cell](dim, dim, **settings)
        self.backward_net = CELLS[cell](dim, dim, **settings)

    def forward(self, current: torch.Tensor, state: GateState) -> tuple[torch.Tensor, GateState]:
        """Integrate like :class:`memba_vision.models.peft.lim.Membrane`; ``state`` is returned."""
        forward, _ = self.forward_net(current)
        backward, _ = self.backward_net(current.flip(1))
        return torch.stack([forward, backward.flip(1)]), state


@ADAPTERS.register_module()
class RecurrentGate(Adapter):
    """LSTM or GRU in the place of Memba's membrane, on LoRA's hidden activations.

    ``silu(W_z h + scale * up_z(dropout(RNN_k(down h))))``. It stands on a LoRA of ``in_proj``,
    which comes before it in the list of adapters, and the adapted model computes the pre-trained
    function at the start. Trains ``2 * gates * (2 * rank² + 2 * rank)`` parameters per block, with
    4 gates for 'lstm' and 3 for 'gru': at rank 64 on Vim-S 1,597,440 and 1,198,080 beside LoRA's
    own. Source: the ablation of Memba (ICLR 2026); the exact position of its networks is not
    published, so they have that of site 'lora' of :class:`memba_vision.models.peft.lim.LIM`.

    Args:
        cell: 'lstm' or 'gru'.
    """

    needs = ('gate',)

    def __init__(self, cell: str = 'lstm') -> None:
        if cell not in CELLS:
            raise UserError(f'RecurrentGate: unknown cell {cell!r}; known are {", ".join(CELLS)}')
        self.cell = cell

    def attach(self, backbone: nn.Module) -> None:
        """Replace the gate of every mixer."""
        check_taps(backbone, 'RecurrentGate', 'it')
        tap_gates(
            backbone,
            'RecurrentGate',
            lambda lora: RecurrentMembrane(self.cell, lora.down.weight),
        )

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays, and the LoRA that leads to it."""
        return f'RecurrentGate stays as the gate, {TAP_STAYS}'
