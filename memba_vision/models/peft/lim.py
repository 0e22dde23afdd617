"""Leaky-integrate membrane (LIM) on the gate of both scan directions (Memba, ICLR 2026)."""

import math

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.gates import GateState, Scans
from memba_vision.models.peft.adapter import Adapter, check_state_free, replace_module
from memba_vision.models.peft.low_rank_gate import (
    TAP_STAYS,
    check_taps,
    free_gates,
    gates_and_rows,
    tap_gates,
)
from memba_vision.models.peft.setting_checks import check_switch
from memba_vision.ops import MembraneSettings, bidirectional_membrane, membrane_gate
from memba_vision.registry import ADAPTERS


class Membrane(nn.Module):
    """Membranes of both directions, each in its own scan order, without parameters.

    Args:
        settings: number of chunks, leak and threshold.
        cross_layer: start from the mean potential of the block before.
    """

    def __init__(self, settings: MembraneSettings, cross_layer: bool) -> None:
        super().__init__()
        self.settings = settings
        self.cross_layer = cross_layer

    @property
    def hands_on_state(self) -> bool:
        """True where the state that blocks hand on is this membrane's."""
        return self.cross_layer

    def forward(self, current: torch.Tensor, state: GateState) -> tuple[torch.Tensor, GateState]:
        """Integrate (batch, length, dim) from both ends.

        Returns:
            The potentials of the forward and of the backward direction, (2, batch, length, dim)
            in image order, and the state for the next block: the mean potentials of both
            directions in scan order, (2 * batch, dim, chunk) float32.
        """
        potentials, mean = bidirectional_membrane(current, self.initial(state), self.settings)
        return potentials, self.next_state(mean, state)

    def initial(self, state: GateState) -> torch.Tensor | None:
        """Return the initial potentials, given the state of the block before."""
        return state[0] if state is not None and self.cross_layer else None

    def next_state(self, mean: torch.Tensor, state: GateState) -> GateState:
        """Return the state for the next block, that of the block before where it is not its own."""
        return (mean,) if self.cross_layer else state

    def extra_repr(self) -> str:
        """Show the settings when the model is printed."""
        fields = {**vars(self.settings), 'cross_layer': self.cross_layer}
        return ', '.join(f'{name}={value}' for name, value in fields.items())


def membrane_settings(num_chunks: int, leak: float, threshold: float | None) -> MembraneSettings:
    """Return the settings of a membrane; a threshold of None stands for no reset.

    Raises:
        UserError: a setting is out of range.
    """
    return MembraneSettings(num_chunks, leak, math.inf if threshold is None else threshold)


class MembraneGate(nn.Module):
    """Gate of site 'gate': its membrane integrates the whole pre-activation, ``silu(LIM_k(z))``."""

    owner = 'LIM'

    def __init__(self, membrane: Membrane) -> None:
        super().__init__()
        self.membrane = membrane

    def forward(
        self, scans: Scans, gate_input: torch.Tensor, state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """Merge the directions; see :mod:`memba_vision.models.modules.gates`.

        ``gate_input`` is ``z``.
        """
        merged, mean = membrane_gate(
            gate_input.transpose(1, 2),
            scans[0].transpose(1, 2),
            scans[-1].transpose(1, 2),
            self.membrane.initial(state),
            self.membrane.settings,
        )
        return merged.transpose(1, 2), self.membrane.next_state(mean, state)


@ADAPTERS.register_module()
class LIM(Adapter):
    """The leaky-integrate membrane of Memba on every mixer's gate, both directions.

    Adds no parameters of its own. With ``site='lora'`` it stands on a LoRA of ``in_proj``, which
    comes before it in the list of adapters, and the adapted model computes the pre-trained
    function at the start; with ``site='gate'`` it stands alone or on any adapter of ``in_proj``,
    and does not. Source: Memba (ICLR 2026), section 4.

    Args:
        site: 'lora' (:class:`~memba_vision.models.peft.low_rank_gate.LowRankMembraneGate`) or
            'gate' (:class:`MembraneGate`).
        num_chunks: chunks that the sequence is cut into (T), at least 1.
        leak: share of a potential that is kept from chunk to chunk, in (0, 1].
        threshold: potentials above it are reset to zero; None stands for no reset.
        cross_layer: start from the mean potential of the block before.
    """

    needs = ('gate',)
    SITES = ('lora', 'gate')

    def __init__(
        self,
        site: str = 'lora',
        num_chunks: int = 4,
        leak: float = 0.9,
        threshold: float | None = 1.0,
        cross_layer: bool = True,
    ) -> None:
        check_switch('LIM', 'cross_layer', cross_layer)
        if site not in self.SITES:
            raise UserError(f'LIM: unknown site {site!r}; known are {", ".join(self.SITES)}')
        self.site = site
        self.settings = membrane_settings(num_chunks, leak, threshold)
        self.cross_layer = cross_layer

    def attach(self, backbone: nn.Module) -> None:
        """Replace the gate of every mixer."""
        gates = free_gates(backbone, 'LIM')
        if self.cross_layer:
            check_state_free(backbone, 'LIM', 'set cross_layer=False in one')
        if self.site == 'lora':
            check_taps(backbone, 'LIM', "site 'lora'", ", or choose site 'gate'")
            if self.cross_layer:
                _check_one_rank(backbone)
            tap_gates(backbone, 'LIM', lambda lora: Membrane(self.settings, self.cross_layer))
            return
        for gate in gates:
            membrane = Membrane(self.settings, self.cross_layer)
            replace_module(backbone, gate, MembraneGate(membrane))

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays; with site 'lora' the LoRA that leads to it stays too."""
        if self.site == 'gate':
            return 'LIM stays as the gate: no weight leaks and resets; it has no parameters'
        return f'LIM stays as the gate, {TAP_STAYS}'


def _check_one_rank(backbone: nn.Module) -> None:
    loras = [backbone.get_submodule(rows.module) for _, rows in gates_and_rows(backbone)]
    ranks = sorted({len(lora.down.weight) for lora in loras})
    if len(ranks) > 1:
        raise UserError(
            f'LIM: the LoRAs of in_proj have the ranks {ranks}, but cross_layer hands potentials '
            'from block to block: give them one rank, or set cross_layer=False'
        )
