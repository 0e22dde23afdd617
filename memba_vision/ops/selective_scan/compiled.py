"""The operators of torch around a module of compiled kernels."""

from collections.abc import Callable
from importlib import import_module

import torch
from torch.library import custom_op

from memba_vision.ops.second_derivatives import register_second_derivatives
from memba_vision.ops.selective_scan.torch_portable import scan_gradients

#: Arguments of the operators, in the language of torch.library.
INPUTS = (
    'Tensor u, Tensor[] delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? delta_bias, '
    'bool delta_softplus, int[] reverse, int[] rows'
)


def define_scan(
    backend: str,
    kernels: str,
    empty_like: Callable[[torch.Tensor], torch.Tensor],
    empty_states: Callable[[torch.Tensor, torch.Tensor, bool], torch.Tensor],
) -> Callable[..., torch.Tensor]:
    """Define ``memba_vision::selective_scan_{backend}`` and its backward operator.

    They run one scan or several of the same ``u``, whose results are summed: there is a ``delta``
    for each, and where there are several, the other tensors have an axis of scans in front.
    ``reverse`` and ``rows`` say for each scan whether it goes from the last position to the first,
    and of how many rows the image is whose columns it goes down, 1 for a plain sequence.

    Args:
        backend: name of the backend.
        kernels: module with the functions ``forward`` and ``backward``; imported when they run.
        empty_like: allocates a result that belongs to a sequence.
        empty_states: allocates what the forward pass keeps, of ``u``, ``A`` and whether it does.

    Returns:
        A function of u, delta, A, B, C, D, delta_bias, delta_softplus, reverse and rows.
    """

    name = f'memba_vision::selective_scan_{backend}'
    scan = custom_op(
        name,
        lambda *arguments: import_module(kernels).forward(*arguments),
        mutates_args=(),
        schema=f'({INPUTS}, bool keep_states) -> (Tensor, Tensor)',
    )

    @scan.register_fake
    def _(u, delta, A, *others):
        return empty_like(u), empty_states(u, A, others[-1])

    scan_backward = custom_op(
        f'{name}_backward',
        lambda *arguments: import_module(kernels).backward(*arguments),
        mutates_args=(),
        schema=f'(Tensor grad_out, Tensor states, {INPUTS}, bool[] needs) -> Tensor[]',
    )

    @scan_backward.register_fake
    def _(grad_out, states, u, delta, A, B, C, D, delta_bias, *flags):
        needs_A, needs_D, needs_bias = flags[-1]
        return [
            empty_like(u),
            *(empty_like(delta[0]) for _ in delta),
            A.new_empty(A.mT.shape).mT if needs_A else u.new_empty(0),
            B.new_empty(B.mT.shape).mT,
            C.new_empty(C.mT.shape).mT,
            D.new_empty(D.shape) if needs_D else u.new_empty(0),
            delta_bias.new_empty(delta_bias.shape) if needs_bias else u.new_empty(0),
        ]

    def save(ctx, inputs, output) -> None:
        u, delta, *others = inputs
        ctx.save_for_backward(output[1], u, *others[:5], *delta)
        ctx.flags = others[5:8]
        ctx.set_materialize_grads(False)  # the states get no gradient: spare the zeros

    def differentiate(ctx, grad_out, _):
        states, u, A, B, C, D, bias, *delta = ctx.saved_tensors
        if grad_out is None:
            return None, [None] * len(delta), *[None] * (len(ctx.needs_input_grad) - 2)
        needs = [ctx.needs_input_grad[i] for i in (2, 5, 6)]
        inputs = u, delta, A, B, C, D, bias
        grad_u, *grads = scan_backward(grad_out, states, *inputs, *ctx.flags, needs)
        grads = [grad_u, grads[: len(delta)], *grads[len(delta) :]]
        wanted = zip(grads, ctx.needs_input_grad, strict=False)
        return *(grad if needed else None for grad, needed in wanted), None, None, None, None

    scan.register_autograd(differentiate, setup_context=save)

    def twin(grad_out, states, *arguments):
        return scan_gradients(grad_out, arguments[:7], *arguments[7:10])

    register_second_derivatives(scan_backward, twin)

    def run(u, delta, *others) -> torch.Tensor:
        *others, softplus, reverse, rows = others
        inputs = [tensor for tensor in (u, *delta, *others) if tensor is not None]
        keep_states = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
        # Numbers, since torch.jit.trace takes no list of flags.
        flags = softplus, [int(backwards) for backwards in reverse], rows
        return scan(u, delta, *others, *flags, keep_states)[0]

    return run
