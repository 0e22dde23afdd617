"""Passes through a single mixer, ours or a peer's, and through its projections alone."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import nn

from benchmarking import passes
from benchmarking.contest import Call
from benchmarking.methods import LORA, freeze_and_adapt
from benchmarking.setting import Sizes, Workload
from memba_vision.models.modules.gates import GateState
from memba_vision.models.modules.mixer import BidirectionalMixer


class MixerInModel:
    """Runs a mixer as a block of a model does: with the state of the gate before it.

    The state is what the mixer yields in its first run, where it gets none.
    """

    def __init__(self, mixer: BidirectionalMixer, hidden: torch.Tensor, workload: Workload) -> None:
        self._mixer = workload.autocast(mixer)
        self._hidden = hidden
        self._trained = passes.trained(mixer)
        self._state: GateState = None
        self._next_state: GateState = None

    def __call__(self) -> Sequence[torch.Tensor]:
        """One forward pass: the output, and what the gate hands on."""
        self._state = self._next_state
        out, state = self._mixer(self._hidden, self._state)
        if self._next_state is None and state is not None:
            self._next_state = tuple(part.detach().requires_grad_() for part in state)
        return out, *(state or ())

    def leaves(self) -> list[torch.Tensor]:
        """Return the tensors of the last run that need gradients."""
        return [self._hidden, *self._trained, *(self._state or ())]


class Projections(nn.Module):
    """The projections of a mixer, with nothing between them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.in_proj = nn.Linear(sizes.width, 2 * sizes.channels, bias=False)
        self.out_proj = nn.Linear(sizes.channels, sizes.width, bias=False)

    def forward(
        self, hidden: torch.Tensor, inner: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Project (…, width) up, and (…, channels) down."""
        return self.in_proj(hidden), self.out_proj(inner)


def mixer_pass(kind: str, method: str | None, sizes: Sizes, workload: Workload) -> Call:
    """A pass through a frozen mixer with a method's adapters; None stands for no adapters."""
    mixer = BidirectionalMixer(sizes.width, d_state=sizes.state).requires_grad_(False)
    if method:
        freeze_and_adapt(mixer, method, sizes)
    mixer.to(workload.device).train(kind == passes.STEP)
    run = MixerInModel(mixer, random_hidden(sizes.width, sizes, workload), workload)
    return passes.make_pass(kind, run, run.leaves)


def peer_pass(kind: str, module: nn.Module, sizes: Sizes, workload: Workload) -> Call:
    """A pass through another mixer, (batch, length, width) to the same.

    Never in training mode, in which Hugging Face's reads weights that LoRA has wrapped: what is
    saved is LoRA's dropout.
    """
    module.to(workload.device).eval()
    hidden = random_hidden(sizes.width, sizes, workload)
    call = workload.autocast(module)
    leaves = [hidden, *passes.trained(module)]
    return passes.make_pass(kind, lambda: [call(hidden)], lambda: leaves)


def projections_pass(kind: str, sizes: Sizes, workload: Workload) -> Call:
    """A pass through the projections alone; in a training step they are frozen and have LoRA."""
    module = Projections(sizes)
    if kind == passes.STEP:
        freeze_and_adapt(module, LORA, sizes)
    module.to(workload.device)
    inputs = [random_hidden(width, sizes, workload) for width in (sizes.width, sizes.channels)]
    call = workload.autocast(module)
    leaves = [*inputs, *passes.trained(module)]
    return passes.make_pass(kind, lambda: call(*inputs), lambda: leaves)


def random_hidden(channels: int, sizes: Sizes, workload: Workload) -> torch.Tensor:
    """Random (batch, length, channels) float32 that require a gradient."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(workload.batch, sizes.length, channels, generator=generator)
    return values.to(workload.device).requires_grad_()


def mixer_builders(
    methods: Sequence[str], kind: str, sizes: Sizes, workload: Workload
) -> dict[str, Callable[[], Call]]:
    """Return builders of a pass through a mixer with each method, by the method's name."""
    return {
        method: functools.partial(mixer_pass, kind, method, sizes, workload) for method in methods
    }
