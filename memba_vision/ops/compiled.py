"""Compiled kernels as operators of torch, each with its derivatives, from one description."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch.library import custom_op

from memba_vision.ops.eager import differentiable, runs_plainly
from memba_vision.ops.second_derivatives import gradients, register_second_derivatives

Tensors = Sequence[torch.Tensor]


def compiled_op(
    name: str,
    schema: str,
    *,
    outputs: Callable[..., Tensors],
    forward: Callable[..., None],
    backward: Callable[..., None],
    reference: Callable[..., torch.Tensor | Tensors],
    gradient_like: Callable[[torch.Tensor], torch.Tensor] = torch.empty_like,
    optional: Collection[str] = (),
    equal: Mapping[str, str] | None = None,
) -> Callable[..., torch.Tensor | tuple]:
    """Register a kernel and the kernel of its gradients with torch, and return a call of it.

    ``outputs`` and ``gradient_like`` allocate memory, ``forward`` and ``backward`` fill it. While
    torch.compile traces a model, only the allocation runs. Second derivatives are those of
    ``reference``.

    Args:
        name: the operators are ``memba_vision::{name}`` and ``memba_vision::{name}_backward``.
        schema: '(Tensor x, Tensor? y, float scale) -> Tensor' in the language of torch.library,
            tensors first.
        outputs: takes the arguments and allocates the results.
        forward: takes the results and the arguments, and fills the results.
        backward: takes the gradients of the tensors and of the results, then the arguments, and
            fills the gradients of the tensors, those apart that are None.
        reference: takes the arguments and returns the results, by torch's own operators.
        gradient_like: allocates the gradient of a tensor.
        optional: names of the tensors whose gradient ``backward`` gets as None if it is not needed.
        equal: for a tensor whose gradient is the same as another's, the name of the other:
            ``backward`` gets None for the former.
    """
    arguments, results = schema.split(' -> ')
    names = [each.split()[1] for each in arguments[1:-1].split(', ') if each.startswith('Tensor')]
    equal = equal or {}
    tensor_count, result_count = len(names), results.count('Tensor')

    def allocate_gradients(*values) -> list[torch.Tensor | None]:
        *_, needs = values
        return [
            None
            if tensor is None or name in equal or (name in optional and not needed)
            else gradient_like(tensor)
            for name, tensor, needed in zip(names, values[result_count:], needs, strict=False)
        ]

    def run(*values):
        allocated = outputs(*values)
        forward(*allocated, *values)
        return _as_results(allocated)

    def run_backward(*values):
        allocated = allocate_gradients(*values)
        backward(*allocated, *values[:-1])
        return _as_results(allocated, like=values[0])

    def save(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[:tensor_count])
        ctx.others = inputs[tensor_count:]

    def differentiate(ctx, *grad_outputs):
        needs = list(ctx.needs_input_grad[:tensor_count])
        is_plain = not torch.is_grad_enabled() and runs_plainly(grad_outputs)
        gradient = run_backward if is_plain else gradient_op
        grads = gradient(*grad_outputs, *ctx.saved_tensors, *ctx.others, needs)
        by_name = dict(zip(names, [grads] if tensor_count == 1 else grads, strict=True))
        wanted = zip(names, needs, strict=True)
        grads = (by_name[equal.get(name, name)] if needed else None for name, needed in wanted)
        return *grads, *(None for _ in ctx.others)

    def reference_gradients(*values):
        grad_outputs, values = values[:result_count], values[result_count:-1]
        return gradients(reference(*values), values[:tensor_count], grad_outputs)

    op = custom_op(f'memba_vision::{name}', run, mutates_args=(), schema=schema)
    op.register_fake(lambda *values: _as_results(outputs(*values)))
    op.register_autograd(differentiate, setup_context=save)
    grad_outputs = ''.join(f'Tensor grad_{i}, ' for i in range(result_count))
    grads = ', '.join(['Tensor'] * tensor_count)
    gradient_op = custom_op(
        f'memba_vision::{name}_backward',
        run_backward,
        mutates_args=(),
        schema=f'({grad_outputs}{arguments[1:-1]}, bool[] needs) -> ({grads})',
    )
    gradient_op.register_fake(
        lambda *values: _as_results(allocate_gradients(*values), like=values[0])
    )
    register_second_derivatives(gradient_op, reference_gradients)
    eager = differentiable(name, run, save, differentiate)

    def call(*values):
        return (eager if runs_plainly(values[:tensor_count]) else op)(*values)

    return call


def _as_results(tensors, like: torch.Tensor | None = None) -> torch.Tensor | tuple:
    """Return an operator's results, with empty tensors, made from ``like``, in place of None."""
    tensors = tuple(like.new_empty(0) if tensor is None else tensor for tensor in tensors)
    return tensors[0] if len(tensors) == 1 else tensors
