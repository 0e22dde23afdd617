"""SSMLoRA (Yu et al. 2025): LoRA whose bottlenecks are linked from block to block by a state."""

import math

import torch
from torch import nn

from memba_vision.models.modules.dropout import ScaledDropout
from memba_vision.models.modules.gates import GateState, Scans
from memba_vision.models.modules.linear import Linear
from memba_vision.models.peft.adapter import (
    Adapter,
    check_free,
    check_state_free,
    replace_module,
)
from memba_vision.models.peft.low_rank import check_low_rank, make_bottleneck
from memba_vision.models.peft.setting_checks import check_whole
from memba_vision.models.peft.targets import find_targets
from memba_vision.registry import ADAPTERS


class TimeModuleGate(nn.Module):
    """A gate that also makes the bottleneck's activations for the out_proj behind it.

    .. code-block:: text

        low_rank = down(merged)
        h        = normalised(h_before + carry(h_before) + enter(low_rank))
        yields     [merged, low_rank + dropout(h)], and h for the next such gate

    ``carry`` and ``enter`` are zero at the start, and so is the state before the first block. No
    gradient flows from block to block.

    Args:
        base_layer: the gate.
        down: d_inner to rank.
        drop_rate: dropout on the contribution of the state.
    """

    owner = 'SSMLoRA'
    hands_on_state = True

    def __init__(self, base_layer: nn.Module, down: nn.Linear, drop_rate: float) -> None:
        super().__init__()
        rank = down.out_features
        like = dict(device=down.weight.device, dtype=down.weight.dtype)
        self.base_layer = base_layer
        self.down = down
        self.carry = Linear(rank, rank, bias=False, **like)
        self.enter = Linear(rank, rank, bias=False, **like)
        self.dropout = ScaledDropout(drop_rate)
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.carry.weight)
        nn.init.zeros_(self.enter.weight)

    def forward(
        self, scans: Scans, gate_input: torch.Tensor, state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """See :mod:`memba_vision.models.modules.gates`; yields d_inner + rank channels."""
        merged, _ = self.base_layer(scans, gate_input)
        low_rank = self.down(merged)
        before = torch.zeros_like(low_rank) if state is None else state[0]
        current = _normalise(before + self.carry(before) + self.enter(low_rank))
        adjusted = low_rank + self.dropout(current)
        return torch.cat([merged, adjusted], dim=-1), (current.detach(),)


def _normalise(state: torch.Tensor) -> torch.Tensor:
    """Move the last axis to begin at 0, and shrink it to end at 1 at most.

    The authors stretch it to 1 too; where the state starts, at zero, that has no finite slope.
    """
    low, high = state.amin(dim=-1, keepdim=True), state.amax(dim=-1, keepdim=True)
    return (state - low) / (high - low).clamp(min=1)


class TimeModuleOutProj(nn.Module):
    """An out_proj that gets the bottleneck's activations from its gate.

    ``y = W merged + scale * up(low_rank)``, with ``up`` zero at the start.

    Args:
        base_layer: the frozen projection, d_inner to dim.
        up: rank to dim.
        scale: factor of the update.
    """

    def __init__(self, base_layer: nn.Linear, up: nn.Linear, scale: float) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.up = up
        self.scale = scale
        nn.init.zeros_(up.weight)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (..., d_inner + rank) to (..., dim)."""
        rank = self.up.in_features
        merged, low_rank = hidden.split([hidden.shape[-1] - rank, rank], dim=-1)
        return self.base_layer(merged) + self.scale * self.up(low_rank)


@ADAPTERS.register_module()
class SSMLoRA(Adapter):
    """LoRA on ``out_proj`` of every second block, linked by a state.

    Trains ``rank * (d_inner + embed_dims) + 2 * rank²`` parameters per block that has it: rank 64
    in every second block of Vim-S makes 983,040. The paper adapts the attention of transformers;
    here the state travels with that of the gates, so it is ``out_proj`` that can be adapted, and
    no other adapter may replace the gate. Source: Yu et al. 2025 (NAACL), section 3, and the
    authors' code, which keeps the state from batch to batch too; here each image starts at zero.

    Args:
        rank: width of the bottleneck and of the state.
        scale: factor of the update.
        drop_rate: dropout on the contribution of the state.
        every: 1 for all blocks, 2 for every second one, the first included, and so on.
    """

    needs = ('gate', 'mix.out')

    def __init__(
        self, rank: int = 64, scale: float = 0.1, drop_rate: float = 0.1, every: int = 2
    ) -> None:
        check_low_rank('SSMLoRA', rank, drop_rate, scale)
        check_whole('SSMLoRA', 'every', every)
        self.rank = rank
        self.scale = scale
        self.drop_rate = drop_rate
        self.every = every

    def attach(self, backbone: nn.Module) -> None:
        """Replace gate and out_proj of the chosen mixers."""
        blocks = [block for block in self.sites(backbone).blocks if block.gate][:: self.every]
        outputs = [block.projections['mix.out'][0].module for block in blocks]
        layers = find_targets(backbone, outputs, [nn.Linear])
        gates = [check_free(backbone, 'SSMLoRA', block.gate) for block in blocks]
        check_state_free(backbone, 'SSMLoRA', 'set cross_layer=False in the other')
        for block, gate, (output, layer) in zip(blocks, gates, layers.items(), strict=True):
            down, up = make_bottleneck(layer, self.rank, layer.out_features)
            replace_module(backbone, block.gate, TimeModuleGate(gate, down, self.drop_rate))
            replace_module(backbone, output, TimeModuleOutProj(layer, up, self.scale))

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: a state links the blocks."""
        return 'SSMLoRA stays: its state links the blocks, which no weight does'
