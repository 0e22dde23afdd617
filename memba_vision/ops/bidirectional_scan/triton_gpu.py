"""Both directions on a GPU in one launch: a small batch alone leaves much of a GPU idle.

Kernels: those of one direction, :mod:`memba_vision.ops.triton_kernels.selective_scan`.
"""

import torch

from memba_vision.ops.bidirectional_scan import BACKENDS
from memba_vision.ops.bidirectional_scan.inputs import ScanInputs
from memba_vision.ops.bidirectional_scan.torch_separate import bidirectional_scan_torch
from memba_vision.ops.layout import empty_channel_last
from memba_vision.ops.second_derivatives import register_second_derivatives
from memba_vision.ops.selective_scan import BACKENDS as ONE_WAY
from memba_vision.ops.selective_scan.grids import Grid
from memba_vision.ops.selective_scan.torch_portable import scan_gradients
from memba_vision.ops.triton_kernels import presence
from memba_vision.ops.triton_kernels.layout import empty_states


def unsupported_reason(tensor: torch.Tensor) -> str | None:
    """Return why one launch cannot or should not take both, or None where it can."""
    missing = presence.unsupported_reason(tensor)
    if missing or presence.INTERPRETED:
        return missing
    chosen = ONE_WAY.select(None, tensor).name
    return None if chosen == 'triton' else f'selective_scan takes {chosen}, one way at a time'


@BACKENDS.register(
    'triton',
    priority=presence.PRIORITY,
    unsupported_reason=unsupported_reason,
    dtypes=presence.DTYPES,
)
def bidirectional_scan_triton(
    forward: ScanInputs, backward: ScanInputs, delta_softplus: bool, grid: Grid | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.bidirectional_scan`.

    Where the dtypes of the directions differ, or B and C have groups, there is one launch after
    the other.
    """
    grouped = any(way.B.ndim == 4 or way.C.ndim == 4 for way in (forward, backward))
    if grouped or differ(forward, backward):
        return bidirectional_scan_torch(forward, backward, delta_softplus, grid)
    tensors = [tensor for tensor in (*forward, *backward) if tensor is not None]
    keep_states = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    rows = grid[0] if grid else 1
    first, second, _ = _scan(*forward, *backward, delta_softplus, rows, keep_states)
    return first, second


def differ(forward: ScanInputs, backward: ScanInputs) -> bool:
    """Return True if two directions have not the same tensors of the same dtypes."""
    return any(
        a is not b and (a is None or b is None or a.dtype != b.dtype)
        for a, b in zip(forward, backward, strict=True)
    )


@torch.library.custom_op('memba_vision::bidirectional_scan_triton', mutates_args=())
def _scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    back_u: torch.Tensor,
    back_delta: torch.Tensor,
    back_A: torch.Tensor,
    back_B: torch.Tensor,
    back_C: torch.Tensor,
    back_D: torch.Tensor | None,
    back_delta_bias: torch.Tensor | None,
    delta_softplus: bool,
    rows: int,
    keep_states: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    from memba_vision.ops.triton_kernels import selective_scan

    first = u, delta, A, B, C, D, delta_bias
    second = back_u, back_delta, back_A, back_B, back_C, back_D, back_delta_bias
    return selective_scan.forward_ways([first, second], delta_softplus, False, rows, keep_states)


@_scan.register_fake
def _(*arguments):
    u, _, A, *_ = arguments
    return empty_channel_last(u), empty_channel_last(u), empty_states(u, A, arguments[-1], 2)


@torch.library.custom_op('memba_vision::bidirectional_scan_triton_backward', mutates_args=())
def _scan_backward(
    grad_outs: list[torch.Tensor],
    states: torch.Tensor,
    forward: list[torch.Tensor],
    backward: list[torch.Tensor],
    has_D: bool,
    has_delta_bias: bool,
    delta_softplus: bool,
    rows: int,
    needs: list[bool],
) -> list[torch.Tensor]:
    """Return the gradients of the one direction's tensors, then of the other's; empty if unneeded.

    ``forward`` and ``backward`` leave out what is absent; ``needs`` is for A, D and delta_bias.
    """
    from memba_vision.ops.triton_kernels import selective_scan

    ways = [_with_absent(way, has_D, has_delta_bias) for way in (forward, backward)]
    flags = delta_softplus, False, rows
    grads = selective_scan.backward_ways(grad_outs, states, ways, *flags, needs)
    return [grad for way in grads for grad in way]


@_scan_backward.register_fake
def _(grad_outs, states, forward, backward, has_D, has_delta_bias, *flags):
    needs = flags[-1]
    u, delta, A, B, C, D, bias = _with_absent(forward, has_D, has_delta_bias)
    return [
        grad
        for _ in range(2)
        for grad in (
            empty_channel_last(u),
            empty_channel_last(delta),
            A.new_empty(A.T.shape).T if needs[0] else u.new_empty(0),
            B.new_empty(B.mT.shape).mT,
            C.new_empty(C.mT.shape).mT,
            torch.empty_like(D) if needs[1] else u.new_empty(0),
            torch.empty_like(bias) if needs[2] else u.new_empty(0),
        )
    ]


def _with_absent(
    way: list[torch.Tensor], has_D: bool, has_delta_bias: bool
) -> list[torch.Tensor | None]:
    rest = iter(way[5:])
    D = next(rest) if has_D else None
    return [*way[:5], D, next(rest) if has_delta_bias else None]


def _save(ctx, inputs, output) -> None:
    *tensors, softplus, rows, _ = inputs
    ctx.flags = softplus, rows
    ctx.save_for_backward(output[2], *tensors)
    ctx.set_materialize_grads(False)  # there is none of the states


def _differentiate(ctx, grad_first, grad_second, grad_states):
    states, *tensors = ctx.saved_tensors
    ways = tensors[:7], tensors[7:]
    # Of a result that nobody used there is no gradient.
    grads = zip((grad_first, grad_second), ways, strict=True)
    grad_outs = [torch.zeros_like(way[0]) if grad is None else grad for grad, way in grads]
    needs = [any(ctx.needs_input_grad[i + way] for way in (0, 7)) for i in (2, 5, 6)]
    present = [[tensor for tensor in way if tensor is not None] for way in ways]
    absent = [tensor is not None for tensor in ways[0][5:]]
    grads = _scan_backward(grad_outs, states, *present, *absent, *ctx.flags, needs)
    wanted = zip(grads, ctx.needs_input_grad, strict=False)
    return *(grad if needed else None for grad, needed in wanted), None, None, None


_scan.register_autograd(_differentiate, setup_context=_save)


def _twin(grad_outs, _, forward, backward, has_D, has_delta_bias, delta_softplus, rows, __):
    grads = []
    for grad_out, way, reverse in zip(grad_outs, (forward, backward), (False, True), strict=True):
        u, delta, *others = _with_absent(way, has_D, has_delta_bias)
        inputs = u, [delta], *others
        grads += scan_gradients(grad_out, inputs, delta_softplus, [reverse], [rows])
    return grads


register_second_derivatives(_scan_backward, _twin)
