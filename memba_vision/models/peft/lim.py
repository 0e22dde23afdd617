"""LIM, the leaky-integrate membrane on the gate of both scan directions (Memba, ICLR 2026)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.gates import GateState, Scans
from memba_vision.models.peft.adapter import (
    Adapter,
    check_free,
    check_state_free,
    replace_module,
)
from memba_vision.models.sites import Rows, check_sites, sites_of
from memba_vision.ops import (
    bidirectional_membrane,
    check_membrane,
    gated_merge,
    membrane_gate,
)
from memba_vision.registry import ADAPTERS


class Membrane(nn.Module):
    """The membranes of both directions, each in its own scan order. It has no parameters.

    Args:
        num_chunks: chunks that the sequence is cut into (T).
        leak: what a potential keeps from chunk to chunk.
        threshold: potentials above it are reset to zero.
        cross_layer: start from the mean potential of the block before.
    """

    def __init__(self, num_chunks: int, leak: float, threshold: float, cross_layer: bool) -> None:
        super().__init__()
        check_membrane(num_chunks, leak)
        self.num_chunks = num_chunks
        self.leak = leak
        self.threshold = threshold
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
        potentials, mean = bidirectional_membrane(current, self.initial(state), **self.settings())
        return potentials, self.next_state(mean)

    def settings(self) -> dict[str, int | float]:
        """What the ops take by name."""
        return dict(num_chunks=self.num_chunks, leak=self.leak, threshold=self.threshold)

    def initial(self, state: GateState) -> torch.Tensor | None:
        """The potentials to start from, given the state that the block before handed on."""
        return state[0] if state is not None and self.cross_layer else None

    def next_state(self, mean: torch.Tensor) -> GateState:
        """The state for the next block."""
        return (mean,) if self.cross_layer else None

    def extra_repr(self) -> str:
        """Show the settings when the model is printed."""
        return (
            f'num_chunks={self.num_chunks}, leak={self.leak}, threshold={self.threshold}, '
            f'cross_layer={self.cross_layer}'
        )


def membrane_settings(
    num_chunks: int, leak: float, threshold: float | None, cross_layer: bool
) -> dict[str, Any]:
    """Return what a :class:`Membrane` takes; a threshold of None stands for no reset.

    Raises:
        UserError: a setting is out of range.
    """
    check_membrane(num_chunks, leak)
    threshold = math.inf if threshold is None else threshold
    return dict(num_chunks=num_chunks, leak=leak, threshold=threshold, cross_layer=cross_layer)


class MembraneGate(nn.Module):
    """Site 'gate': the membrane integrates the whole gate pre-activation, ``silu(LIM_k(z))``."""

    owner = 'LIM'

    def __init__(self, membrane: Membrane) -> None:
        super().__init__()
        self.membrane = membrane

    def forward(
        self, scans: Scans, gate_input: torch.Tensor, state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """See :mod:`memba_vision.models.modules.gates`; ``gate_input`` is ``z``."""
        merged, mean = membrane_gate(
            gate_input.transpose(1, 2),
            scans[0].transpose(1, 2),
            scans[-1].transpose(1, 2),
            self.membrane.initial(state),
            **self.membrane.settings(),
        )
        return merged.transpose(1, 2), self.membrane.next_state(mean)


class LowRankMembraneGate(nn.Module):
    """Site 'lora': the membrane integrates LoRA's hidden activations on their way to the gate.

    ``silu(W_z h + up(scale * dropout(LIM_k(down h))))``

    Args:
        membrane: integrates the hidden activations, one channel per rank.
        up: the part of LoRA's ``up`` that makes the gate, rank to d_inner.
        scale: factor of the update.
        drop_rate: dropout on the potentials.
    """

    def __init__(self, membrane: Membrane, up: nn.Linear, scale: float, drop_rate: float) -> None:
        super().__init__()
        self.membrane = membrane
        self.up = up
        self.scale = scale
        self.dropout = nn.Dropout(drop_rate)

    def forward(
        self,
        scans: Scans,
        gate_input: tuple[torch.Tensor, torch.Tensor],
        state: GateState = None,
    ) -> tuple[torch.Tensor, GateState]:
        """See :mod:`memba_vision.models.modules.gates`.

        ``gate_input`` is ``W_z h``, (batch, length, d_inner), with ``down h``, (batch, length,
        rank).
        """
        base, low_rank = gate_input
        potentials, state = self.membrane(low_rank, state)
        updates = self.up(self.scale * self.dropout(potentials))
        return gated_merge(scans[0], scans[-1], base, updates), state


@ADAPTERS.register_module()
class LIM(Adapter):
    """The leaky-integrate membrane of Memba on every mixer's gate, both directions.

    Adds no parameters of its own. With ``site='lora'`` it stands on a LoRA of ``in_proj``, which
    comes before it in the list of adapters, and the adapted model computes the pre-trained
    function at the start; with ``site='gate'`` it stands alone or on any adapter of ``in_proj``,
    and does not. Source: Memba (ICLR 2026), section 4.

    Args:
        site: 'lora' (:class:`LowRankMembraneGate`) or 'gate' (:class:`MembraneGate`).
        num_chunks: chunks that the sequence is cut into (T), at least 1.
        leak: what a potential keeps from chunk to chunk, in (0, 1].
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
        if site not in self.SITES:
            raise UserError(f'LIM: unknown site {site!r}; known are {", ".join(self.SITES)}')
        self.site = site
        self.settings = membrane_settings(num_chunks, leak, threshold, cross_layer)

    def attach(self, backbone: nn.Module) -> None:
        """Replace the gate of every mixer."""
        gates = free_gates(backbone, 'LIM')
        if self.settings['cross_layer']:
            check_state_free(backbone, 'LIM', 'set cross_layer=False in one')
        if self.site == 'lora':
            check_taps(backbone, 'LIM', "site 'lora'", ", or choose site 'gate'")
            if self.settings['cross_layer']:
                _check_one_rank(backbone)
            tap_gates(backbone, 'LIM', lambda lora: Membrane(**self.settings))
            return
        for gate in gates:
            replace_module(backbone, gate, MembraneGate(Membrane(**self.settings)))

    def merge(self, backbone: nn.Module) -> str:
        """It cannot; with site 'lora' that holds for the LoRA below it too."""
        if self.site == 'gate':
            return 'LIM stays as the gate: no weight leaks and resets; it has no parameters'
        return f'LIM stays as the gate, {TAP_STAYS}'


def _check_one_rank(backbone: nn.Module) -> None:
    loras = [backbone.get_submodule(rows.module) for _, rows in _gates_and_rows(backbone)]
    ranks = sorted({len(lora.down.weight) for lora in loras})
    if len(ranks) > 1:
        raise UserError(
            f'LIM: the LoRAs of in_proj have the ranks {ranks}, but cross_layer hands potentials '
            'from block to block: give them one rank, or set cross_layer=False'
        )


TAP_STAYS = "and in_proj's LoRA with it: what it integrates is LoRA's hidden activations"


def free_gates(backbone: nn.Module, adapter: str) -> list[str]:
    """Return the paths of all gates, none of which an adapter has taken.

    Raises:
        UserError: the backbone has no gates, or another adapter has taken one.
    """
    gates = check_sites(backbone, adapter, 'gate').gates()
    for gate in gates:
        check_free(backbone, adapter, gate)
    return gates


def check_taps(backbone: nn.Module, adapter: str, user: str, otherwise: str = '') -> None:
    """Raise a UserError where a mixer's input projection has no LoRA that exposes its activations.

    Args:
        backbone: the backbone.
        adapter: the adapter that needs them, for the error's text.
        user: the part of it that does.
        otherwise: what the user can do beside adding a LoRA.
    """
    free_gates(backbone, adapter)
    check_sites(backbone, adapter, 'mix.z')
    for _, rows in _gates_and_rows(backbone):
        if not hasattr(backbone.get_submodule(rows.module), 'expose'):
            raise UserError(
                f'{adapter}: {user} integrates the hidden activations of a LoRA on in_proj: put '
                f"dict(type='LoRA', targets=['in_proj', …]), the last adapter of in_proj, before it"
                f'{otherwise}'
            )


def tap_gates(
    backbone: nn.Module, owner: str, make_membrane: Callable[[nn.Module], nn.Module]
) -> None:
    """Let a membrane integrate LoRA's hidden activations on their way to each gate.

    Args:
        backbone: one that :func:`check_taps` passed.
        owner: the adapter that takes the gates.
        make_membrane: makes the membrane of a block of its LoRA layer.
    """
    for path, rows in _gates_and_rows(backbone):
        lora = backbone.get_submodule(rows.module)
        membrane = make_membrane(lora)
        exposed, up = lora.expose(rows.rows)
        gate = LowRankMembraneGate(membrane, up, lora.scale, lora.dropout.p)
        gate.owner = owner
        replace_module(backbone, rows.module, exposed)
        replace_module(backbone, path, gate)


def _gates_and_rows(backbone: nn.Module) -> list[tuple[str, Rows]]:
    """Return the paths of the gates, each with the rows of the projection that make its input."""
    blocks = [block for block in sites_of(backbone).blocks if block.gate]
    return [(block.gate, block.projections['mix.z'][0]) for block in blocks]
