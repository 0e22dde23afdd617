"""Passes to time through a function or a module, as calls without arguments."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

FORWARD = 'forward'
STEP = 'training step'
KINDS = (FORWARD, STEP)

Run = Callable[[], Sequence[torch.Tensor]]


def make_pass(kind: str, run: Run, leaves: Callable[[], Sequence[torch.Tensor]]) -> Callable:
    """A pass of either kind.

    Args:
        kind: ``FORWARD``, which keeps nothing for a backward pass, or ``STEP``, which goes
            backward too, under gradients of the outputs that stay the same.
        run: the forward pass, to a sequence of tensors.
        leaves: returns the tensors that need gradients; called after each run.
    """
    return forward(run) if kind == FORWARD else _forward_backward(run, leaves)


def forward(run: Callable[[], object]) -> Callable[[], None]:
    """A forward pass alone."""

    def call() -> None:
        with torch.no_grad():
            run()

    return call


def _forward_backward(run: Run, leaves: Callable[[], Sequence[torch.Tensor]]) -> Callable:
    grad_outputs = []

    def call() -> None:
        outputs = run()
        if not grad_outputs:
            grad_outputs.extend(torch.randn_like(output) for output in outputs)
        torch.autograd.grad(outputs, leaves(), grad_outputs)

    return call


def trained(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that require a gradient."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
