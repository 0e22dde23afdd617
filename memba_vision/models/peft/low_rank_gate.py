"""Gates that read LoRA's hidden activations, and the step that puts them on a LoRA of in_proj."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.dropout import ScaledDropout
from memba_vision.models.modules.gates import GateState, Scans
from memba_vision.models.peft.adapter import check_free, replace_module
from memba_vision.models.sites import Rows, check_sites, sites_of
from memba_vision.ops import gated_merge

#: Reason why an adapter stays that has tapped a LoRA, for :meth:`Adapter.merge`.
TAP_STAYS = "and in_proj's LoRA on the way to it: it integrates that LoRA's hidden activations"


class LowRankMembraneGate(nn.Module):
    """Gate of site 'lora': its membrane integrates LoRA's hidden activations on their way there.

    ``silu(W_z h + up(scale * dropout(LIM_k(down h))))``

    Args:
        membrane: integrates the hidden activations, one channel per rank, and returns the
            potentials of both directions and the state for the next block.
        up: the part of LoRA's ``up`` that makes the gate, rank to d_inner.
        scale: factor of the update.
        drop_rate: dropout on the potentials.
    """

    def __init__(self, membrane: nn.Module, up: nn.Linear, scale: float, drop_rate: float) -> None:
        super().__init__()
        self.membrane = membrane
        self.up = up
        self.scale = scale
        self.dropout = ScaledDropout(drop_rate)

    def forward(
        self,
        scans: Scans,
        gate_input: tuple[torch.Tensor, torch.Tensor],
        state: GateState = None,
    ) -> tuple[torch.Tensor, GateState]:
        """Merge the directions; see :mod:`memba_vision.models.modules.gates`.

        ``gate_input`` is ``W_z h``, (batch, length, d_inner), with ``down h``, (batch, length,
        rank).
        """
        base, low_rank = gate_input
        potentials, state = self.membrane(low_rank, state)
        updates = self.up(self.dropout(potentials, self.scale))
        return gated_merge(scans[0], scans[-1], base, updates), state


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
        otherwise: further advice, beside adding a LoRA.
    """
    free_gates(backbone, adapter)
    check_sites(backbone, adapter, 'mix.z')
    paths = [rows.module for _, rows in gates_and_rows(backbone)]
    lacking = [path for path in paths if not hasattr(backbone.get_submodule(path), 'expose')]
    check_loras(f'{adapter}: {user}', 'in_proj', paths, lacking, otherwise)


def check_loras(
    user: str, target: str, paths: Sequence[str], lacking: Sequence[str], otherwise: str = ''
) -> None:
    """Raise a UserError where projections lack the LoRA whose hidden activations are integrated.

    Args:
        user: the adapter that integrates them, for the error's text.
        target: the name of the projections.
        paths: the projections.
        lacking: projections among them whose last adapter is no LoRA.
        otherwise: further advice, beside adding a LoRA.
    """
    if not lacking:
        return
    text = f"{user} integrates the hidden activations (init='zero') of a LoRA on {target}"
    if len(lacking) < len(paths):
        raise UserError(
            f'{text} of every block, and {lacking[0]} has none as its last adapter: leave blocks '
            f'of that LoRA out, and name {target} as a whole in its targets{otherwise}'
        )
    raise UserError(
        f"{text}: put dict(type='LoRA', targets=['{target}', …]), the last adapter of {target}, "
        f'before it{otherwise}'
    )


def tap_gates(
    backbone: nn.Module, owner: str, make_membrane: Callable[[nn.Module], nn.Module]
) -> None:
    """Integrate LoRA's hidden activations on their way to each gate by a membrane.

    Args:
        backbone: one that :func:`check_taps` passed.
        owner: the adapter that takes the gates.
        make_membrane: makes the membrane of a block of its LoRA layer.
    """
    for path, rows in gates_and_rows(backbone):
        lora = backbone.get_submodule(rows.module)
        membrane = make_membrane(lora)
        exposed, up = lora.expose(rows.rows)
        gate = LowRankMembraneGate(membrane, up, lora.scale, lora.dropout.p)
        gate.owner = owner
        replace_module(backbone, rows.module, exposed)
        replace_module(backbone, path, gate)


def gates_and_rows(backbone: nn.Module) -> list[tuple[str, Rows]]:
    """Return the paths of the gates, each with the rows of the projection that make its input."""
    blocks = [block for block in sites_of(backbone).blocks if block.gate]
    return [(block.gate, block.projections['mix.z'][0]) for block in blocks]
