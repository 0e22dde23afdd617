"""Compiled kernels as operators of torch, each with its derivatives, from one description."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch.library import CustomOpDef

from memba_vision.ops.second_derivatives import differentiate_by_twin, gradients


def compiled_op(
    name: str,
    schema: str,
    *,
    outputs: Callable[..., Sequence[torch.Tensor]],
    forward: Callable[..., None],
    backward: Callable[..., None],
    reference: Callable[..., torch.Tensor | Sequence[torch.Tensor]],
    gradient_like: Callable[[torch.Tensor], torch.Tensor] = torch.empty_like,
    optional: Collection[str] = (),
    equal: Mapping[str, str] | None = None,
) -> CustomOpDef:
    """Register the operators ``memba_vision::{name}`` and ``memba_vision::{name}_backward``.

    ``outputs`` and ``gradient_like`` allocate memory, which ``forward`` and ``backward`` fill.
    torch.compile runs the allocation alone. Second derivatives are those of ``reference``.

    Args:
        name: name of the operator.
        schema: '(Tensor x, Tensor? y, float scale) -> Tensor' in the language of torch.library;
            tensors come first.
        outputs: takes the operator's arguments and allocates its results.
        forward: takes the results and the arguments, and fills the results.
        backward: takes the gradients of the tensors, those of the results and the arguments, and
            fills the former; None stands for a gradient that it leaves out.
        reference: takes the arguments and returns the results by torch's own operators.
        gradient_like: allocates the gradient of a tensor.
        optional: the tensors whose gradients ``backward`` can leave out where they are not needed.
        equal: tensors that have the same gradient as another one: it is computed once, and
            ``backward`` does not get it twice.
    """
    arguments, results = schema.split(' -> ')
    tensors = [a.split()[1] for a in arguments[1:-1].split(', ') if a.startswith('Tensor')]
    count = results.count('Tensor')
    equal = equal or {}
    written = [i for i, tensor in enumerate(tensors) if tensor not in equal]
    place = [written.index(tensors.index(equal.get(tensor, tensor))) for tensor in tensors]

    def run(*values):
        allocated = outputs(*values)
        forward(*allocated, *values)
        return _as_results(allocated)

    def empty_gradients(values, needs):
        left_out = [values[i] is None or (tensors[i] in optional and not needs[i]) for i in written]
        pairs = zip(written, left_out, strict=True)
        return [None if left else gradient_like(values[i]) for i, left in pairs]

    def run_backward(*values, fill=True):
        *values, needs = values
        grads = empty_gradients(values[count:], needs)
        if fill:
            backward(*grads, *values)
        return _as_results([values[0].new_empty(0) if grad is None else grad for grad in grads])

    def save(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[: len(tensors)])
        ctx.others = inputs[len(tensors) :]

    def differentiate(ctx, *grad_outputs):
        needs = list(ctx.needs_input_grad[: len(tensors)])
        grads = gradient(*grad_outputs, *ctx.saved_tensors, *ctx.others, needs)
        grads = [grads] if len(written) == 1 else grads
        wanted = (grads[at] if needed else None for at, needed in zip(place, needs, strict=True))
        return *wanted, *(None for _ in ctx.others)

    def twin(*values):
        grad_outputs, values = values[:count], values[count:-1]
        return gradients(reference(*values), [values[i] for i in written], grad_outputs)

    op = torch.library.custom_op(f'memba_vision::{name}', run, mutates_args=(), schema=schema)
    op.register_fake(lambda *values: _as_results(outputs(*values)))
    grad_outputs = ', '.join(f'Tensor grad_{i}' for i in range(count))
    gradient = torch.library.custom_op(
        f'memba_vision::{name}_backward',
        run_backward,
        mutates_args=(),
        schema=f'({grad_outputs}, {arguments[1:-1]}, bool[] needs) -> '
        f'({", ".join(["Tensor"] * len(written))})',
    )
    gradient.register_fake(lambda *values: run_backward(*values, fill=False))
    op.register_autograd(differentiate, setup_context=save)
    differentiate_by_twin(gradient, twin)
    return op


def _as_results(tensors: Sequence[torch.Tensor]) -> torch.Tensor | tuple[torch.Tensor, ...]:
    return tensors[0] if len(tensors) == 1 else tuple(tensors)
