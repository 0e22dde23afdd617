"""The operators of torch around a module of compiled kernels."""

from collections.abc import Callable, Sequence
from importlib import import_module

import torch
from torch.library import custom_op

from memba_vision.ops.eager import differentiable, runs_plainly
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

    def run_forward(*arguments):
        return import_module(kernels).forward(*arguments)

    def run_backward(*arguments):
        return import_module(kernels).backward(*arguments)

    scan = custom_op(
        name,
        run_forward,
        mutates_args=(),
        schema=f'({INPUTS}, bool keep_states) -> (Tensor, Tensor)',
    )

    @scan.register_fake
    def _(u, delta, A, *others):
        return empty_like(u), empty_states(u, A, others[-1])

    scan_backward = custom_op(
        f'{name}_backward',
        run_backward,
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
        return gradients(ctx, grad_out, ctx.needs_input_grad)

    def gradients(ctx, grad_out, wanted):
        # In a forward pass torch lists what needs a gradient flat: it is asked for here.
        states, u, A, B, C, D, bias, *delta = ctx.saved_tensors
        if grad_out is None:
            return None, [None] * len(delta), *[None] * (len(wanted) - 2)
        needs = [wanted[i] for i in (2, 5, 6)]
        inputs = u, delta, A, B, C, D, bias
        is_plain = not torch.is_grad_enabled() and runs_plainly([grad_out])
        gradient = run_backward if is_plain else scan_backward
        grad_u, *grads = gradient(grad_out, states, *inputs, *ctx.flags, needs)
        grads = [grad_u, grads[: len(delta)], *grads[len(delta) :]]
        each = zip(grads, wanted, strict=False)
        return *(grad if needed else None for grad, needed in each), None, None, None, None

    scan.register_autograd(differentiate, setup_context=save)

    def save_flat(ctx, inputs, output) -> None:
        save(ctx, _nested(inputs), output)

    def differentiate_flat(ctx, grad_out, _):
        wanted = _nested(ctx.needs_input_grad)
        grad_u, grad_delta, *others = gradients(ctx, grad_out, wanted)
        return grad_u, *(grad_delta or [None] * len(wanted[1])), *others

    eager = differentiable(
        f'selective_scan_{backend}',
        lambda *values: run_forward(*_nested(values)),
        save_flat,
        differentiate_flat,
    )

    def twin(grad_out, states, *arguments):
        return scan_gradients(grad_out, arguments[:7], *arguments[7:10])

    register_second_derivatives(scan_backward, twin)

    def run(u, delta, *others) -> torch.Tensor:
        *others, softplus, reverse, rows = others
        inputs = [tensor for tensor in (u, *delta, *others) if tensor is not None]
        keep_states = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
        # Numbers, since torch.jit.trace takes no list of flags.
        flags = softplus, [int(backwards) for backwards in reverse], rows
        if runs_plainly(inputs):
            return eager(u, *delta, *others, *flags, keep_states)[0]
        return scan(u, delta, *others, *flags, keep_states)[0]

    return run


def _nested(values: Sequence) -> tuple:
    """Return u, a list of all delta, and the nine other arguments of an operator."""
    return values[0], list(values[1:-9]), *values[-9:]
