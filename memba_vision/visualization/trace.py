"""Traces of a model's membranes, recorded by forward hooks on its gates.

No module stores anything: a hook gets the arguments of a gate, and potentials and gates are
computed from them once more.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.hooks import RemovableHandle

from memba_vision.models.peft.hidden_lim import MembraneLoRALinear
from memba_vision.models.peft.lim import Membrane, MembraneGate
from memba_vision.models.peft.low_rank_gate import LowRankMembraneGate
from memba_vision.models.sites import sites_of
from memba_vision.ops import leaky_integrate
from memba_vision.visualization.maps import TokenGrid

#: A gate below this, in absolute value, lets next to nothing through.
CLOSED = 0.05


@dataclass(frozen=True)
class GateCall:
    """Arguments of a call of one block's gate.

    Attributes:
        layer: number of the block, from 0.
        gate: the gate.
        current: the input of its membrane, (batch, length, dim) in image order.
        base: the gate's pre-activation from the projection's own weights, (batch, length,
            d_inner), where the membrane integrates LoRA's hidden activations; otherwise None.
        initial: the initial potentials of the membrane, (2 * batch, dim, chunk) in scan order; None
            stands for zeros.
    """

    layer: int
    gate: MembraneGate | LowRankMembraneGate | MembraneLoRALinear
    current: torch.Tensor
    base: torch.Tensor | None
    initial: torch.Tensor | None


@dataclass(frozen=True)
class Potentials:
    """Membrane potentials of one block; of each pair the first is the forward direction's.

    All are in scan order: for the backward direction the end of the sequence comes first.

    Attributes:
        values: after the reset, (2, batch, dim, length).
        initial: the initial potentials, (2, batch, dim, chunk).
        mean: the state for the next block, (2, batch, dim, chunk).
    """

    values: torch.Tensor
    initial: torch.Tensor
    mean: torch.Tensor

    def was_reset(self) -> torch.Tensor:
        """Return a mask of resets: ``values`` are zero there, and by chance almost nowhere else."""
        return self.values == 0


@dataclass(frozen=True)
class LayerTrace:
    """Trace of one block's membranes on one image, averaged over channels.

    The first row of each is the forward direction's, the second the backward's, both in scan
    order.

    Attributes:
        layer: number of the block, from 0.
        potential: (2, length), after the reset.
        reset: share of the channels that were reset, (2, length).
        initial: the initial potential, (2, chunk).
        mean: the mean potential, which the next block starts from, (2, chunk).
        gate_before: the gate without the membrane, (2, length).
        gate_after: the gate with the membrane, (2, length).
    """

    layer: int
    potential: torch.Tensor
    reset: torch.Tensor
    initial: torch.Tensor
    mean: torch.Tensor
    gate_before: torch.Tensor
    gate_after: torch.Tensor


@dataclass(frozen=True)
class ImageTrace:
    """Trace of a model on an image.

    Attributes:
        title: the name of the model on pages.
        pixels: the image as the model sees it, (height, width, 3), from 0 to 1, red first.
        classes: the most probable classes with their probabilities, the highest first; empty
            where the head is not trained.
        num_chunks: chunks that the sequence is cut into.
        layers: the membranes, block by block; empty where the model has none.
        grids: the positions of the tokens of each of these blocks on the image.
    """

    title: str
    pixels: torch.Tensor
    classes: tuple[tuple[str, float], ...]
    num_chunks: int
    layers: tuple[LayerTrace, ...]
    grids: tuple[TokenGrid, ...]


def find_membranes(backbone: nn.Module) -> dict[int, nn.Module]:
    """Return the modules that have a membrane, by the number of their block, the first of each.

    These are gates, or layers of LoRA.
    """
    found = {}
    for layer, block in enumerate(sites_of(backbone).blocks):
        paths = [block.gate] if block.gate else []
        paths += [rows.module for places in block.projections.values() for rows in places]
        modules = (module for path in paths for module in backbone.get_submodule(path).modules())
        with_membrane = (m for m in modules if isinstance(getattr(m, 'membrane', None), Membrane))
        if first := next(with_membrane, None):
            found[layer] = first
    return found


def watch_gates(backbone: nn.Module, note: Callable[[GateCall], None]) -> list[RemovableHandle]:
    """Register forward hooks that call ``note`` with every call of a gate with a membrane.

    Returns:
        The handles, one for each gate, to remove the hooks.
    """

    def hook_of(layer: int) -> Callable:
        def hook(gate: nn.Module, inputs: tuple) -> None:
            *_, given, state = inputs if len(inputs) > 1 else (*inputs, None)
            if isinstance(gate, MembraneLoRALinear):
                given = gate.down(given).flatten(1, -2)
            base, current = given if isinstance(given, tuple) else (None, given)
            note(GateCall(layer, gate, current, base, gate.membrane.initial(state)))

        return hook

    gates = find_membranes(backbone)
    return [gate.register_forward_pre_hook(hook_of(layer)) for layer, gate in gates.items()]


@contextmanager
def watching(backbone: nn.Module, note: Callable[[GateCall], None]) -> Iterator[None]:
    """Apply :func:`watch_gates` to the forward passes inside a ``with`` block."""
    handles = watch_gates(backbone, note)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def integrate(call: GateCall) -> Potentials:
    """Compute the potentials of a gate once more."""
    current = call.current.transpose(1, 2)
    both = torch.cat([current, current.flip(-1)])
    values, mean = leaky_integrate(both, call.initial, call.gate.membrane.settings)
    initial = torch.zeros_like(mean) if call.initial is None else call.initial
    pairs = (tensor.unflatten(0, (2, -1)) for tensor in (values, initial, mean))
    return Potentials(*pairs)


def gates_without_and_with(
    call: GateCall, potentials: Potentials
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gates without and with the membrane, (2, batch, d_inner, length) in scan order.

    Without it, what it integrates goes to the gate as it is. Dropout is left out of both. Where
    there is no gate, they are the hidden activations of LoRA, (2, batch, rank, length).
    """
    current = call.current.transpose(1, 2)
    before = torch.stack([current, current.flip(-1)])
    if isinstance(call.gate, MembraneLoRALinear):
        return before, potentials.values
    if call.base is None:
        return F.silu(before), F.silu(potentials.values)
    base = call.base.transpose(1, 2)
    base = torch.stack([base, base.flip(-1)])

    def gate(low_rank: torch.Tensor) -> torch.Tensor:
        low_rank = low_rank.transpose(2, 3).to(call.gate.up.weight.dtype)
        update = call.gate.up(call.gate.scale * low_rank)
        return F.silu(base + update.transpose(2, 3))

    return gate(before), gate(potentials.values)


def trace_layer(call: GateCall) -> LayerTrace:
    """Return the trace of a block's membranes on the first image of a batch, on the CPU."""
    with _without_side_effects(call):
        potentials = integrate(call)
        before, after = gates_without_and_with(call, potentials)

    def mean(values: torch.Tensor) -> torch.Tensor:
        return values[:, 0].float().mean(dim=1).cpu()

    return LayerTrace(
        layer=call.layer,
        potential=mean(potentials.values),
        reset=mean(potentials.was_reset()),
        initial=mean(potentials.initial),
        mean=mean(potentials.mean),
        gate_before=mean(before),
        gate_after=mean(after),
    )


@contextmanager
def _without_side_effects(call: GateCall) -> Iterator[None]:
    """Compute without side effects on the forward pass that called.

    Autocast is off: older versions of torch would cache the tensors that it casts here, without a
    gradient, and the forward pass would use them.
    """
    with torch.no_grad(), torch.autocast(call.current.device.type, enabled=False):
        yield


def summarise(call: GateCall) -> dict[str, torch.Tensor]:
    """Compute three statistics of a block over a batch, both directions and all channels.

    Returns:
        ``membrane_potential``, the mean after the reset; ``membrane_reset_share``, the share of
        potentials that were reset; ``gate_sparsity``, the share of gates that are nearly closed
        (below :data:`CLOSED`, in absolute value).
    """
    with _without_side_effects(call):
        potentials = integrate(call)
        _, gates = gates_without_and_with(call, potentials)
    return {
        'membrane_potential': potentials.values.float().mean(),
        'membrane_reset_share': potentials.was_reset().float().mean(),
        'gate_sparsity': (gates.abs() < CLOSED).float().mean(),
    }
