"""Second derivatives of the ops whose gradients are computed by kernels.

torch cannot differentiate a kernel. The derivative of a kernel that computes gradients is taken
from a reference: the same gradients by torch's own operators. They are much slower, and run only
where somebody differentiates twice.
"""

from collections.abc import Callable, Sequence

import torch
from torch.library import CustomOpDef
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from memba_vision.errors import UserError


def gradients(
    outputs: torch.Tensor | Sequence[torch.Tensor],
    inputs: Sequence[torch.Tensor | None],
    grad_outputs: torch.Tensor | Sequence[torch.Tensor],
) -> list[torch.Tensor | None]:
    """Return the differentiable gradients of ``inputs``; None where an input is None."""
    given = [tensor for tensor in inputs if tensor is not None]
    grads = iter(
        torch.autograd.grad(outputs, given, grad_outputs, create_graph=True, materialize_grads=True)
    )
    return [None if tensor is None else next(grads) for tensor in inputs]


def register_second_derivatives(backward: CustomOpDef, reference: Callable[..., Sequence]) -> None:
    """Register the derivatives of ``reference`` as those of ``backward``.

    Args:
        backward: a custom operator that returns gradients, empty ones where they are not needed.
        reference: takes the same arguments and returns the same gradients by torch's operators.
    """

    def save(ctx, inputs, output) -> None:
        leaves, ctx.structure = tree_flatten(inputs)
        ctx.save_for_backward(*(leaf if _is_tensor(leaf) else None for leaf in leaves))
        ctx.others = [None if _is_tensor(leaf) else leaf for leaf in leaves]

    def differentiate(ctx, *grads):
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad(), torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):
            tensors = [
                None if tensor is None else _as_variable(tensor) for tensor in ctx.saved_tensors
            ]
            pairs = zip(tensors, ctx.others, strict=True)
            leaves = [other if tensor is None else tensor for tensor, other in pairs]
            outputs = reference(*tree_unflatten(leaves, ctx.structure))
        pairs = zip(tree_leaves(outputs), tree_leaves(grads), strict=True)
        asked = [(output, grad) for output, grad in pairs if _was_needed(output, grad)]
        inputs = [tensor for tensor in tensors if tensor is not None]
        found = iter(
            torch.autograd.grad(
                [output for output, _ in asked],
                inputs,
                [grad for _, grad in asked],
                create_graph=create_graph,
                allow_unused=True,
            )
        )
        leaves = [None if tensor is None else next(found) for tensor in tensors]
        arguments = tree_unflatten(leaves, ctx.structure)
        # torch expects a list of gradients for a list of tensors, and None for a list of flags.
        return tuple(a if any(map(_is_tensor, tree_leaves(a))) else None for a in arguments)

    backward.register_autograd(differentiate, setup_context=save)


def refuse_second_derivatives(out: torch.Tensor, op: str, backend: str) -> torch.Tensor:
    """Return ``out``, the result of a kernel whose gradients torch would take for constants.

    A backward pass through it with ``create_graph=True`` raises a UserError.
    """

    def refuse(_: torch.Tensor) -> None:
        if torch.is_grad_enabled():
            raise UserError(
                f'{op}: backend {backend!r} has no second derivatives: choose another, with '
                f"MEMBA_VISION_{op.upper()}_BACKEND=torch or backend='torch'"
            )

    if out.requires_grad and not torch.compiler.is_compiling():
        out.register_hook(refuse)
    return out


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, torch.Tensor)


def _was_needed(output: torch.Tensor | None, grad: torch.Tensor | None) -> bool:
    if output is None or grad is None:
        return False
    return grad.numel() > 0 or output.shape == grad.shape  # otherwise it stands for no gradient


def _as_variable(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the same numbers from which no other tensor was computed."""
    if tensor.requires_grad:
        return tensor.view_as(tensor)
    return tensor.detach().requires_grad_()
