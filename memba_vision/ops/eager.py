"""Compiled operators without torch's dispatcher, where nobody looks at the single operators.

The dispatcher takes 70 to 190 microseconds of an operator's forward and backward pass, and a block
of Vim has six operators: with small images that is a sixth of a step.
"""

from collections.abc import Callable, Sequence

import torch

PLAIN = (torch.Tensor, torch.nn.Parameter)


def runs_plainly(tensors: Sequence[torch.Tensor | None]) -> bool:
    """Return True if nothing but autograd has to see the operators that take these tensors.

    Tracing, torch.compile, dispatch modes (counters, fake tensors) and subclasses of tensors do.
    """
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._len_torch_dispatch_stack()
        and all(tensor is None or type(tensor) in PLAIN for tensor in tensors)
    )


def differentiable(
    name: str, run: Callable, save: Callable[..., None], differentiate: Callable
) -> Callable:
    """Return ``run`` with derivatives, as ``torch.library.CustomOpDef.register_autograd`` has it.

    Args:
        name: shown by torch's profiler.
        run: takes tensors and other arguments, and returns a tensor or a tuple.
        save: takes a context, the arguments in a tuple, and the results.
        differentiate: takes the context and the gradients of the results, and returns one for each
            argument.
    """

    def forward(ctx, *values):
        results = run(*values)
        save(ctx, values, results)
        return results

    methods = dict(forward=staticmethod(forward), backward=staticmethod(differentiate))
    function = type(name, (torch.autograd.Function,), methods)

    def call(*values):
        if torch.is_grad_enabled() and any(_trains(value) for value in values):
            return function.apply(*values)
        return run(*values)

    return call


def _trains(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.requires_grad
