"""The gate on a CPU, in one pass over memory; compiled by numba at the first call.

Kernels: :mod:`memba_vision.ops.numba_kernels.gate`.
"""

import torch

from memba_vision.ops.gated_merge import BACKENDS
from memba_vision.ops.gated_merge.torch_gate import gated_merge_torch, merged_dtype
from memba_vision.ops.numba_kernels.layout import as_rows, empty_rows_like, row_obstacle
from memba_vision.ops.second_derivatives import differentiate_by_twin, gradients


@BACKENDS.register('numba', priority=20, obstacle=row_obstacle)
def gated_merge_numba(
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    updates: torch.Tensor | None,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.gated_merge`; bfloat16 and float16 are gated in float32."""
    out_dtype = merged_dtype(forward_scan, backward_scan, gate)
    dtype = torch.promote_types(out_dtype, torch.float32)
    tensors = (forward_scan.to(dtype), backward_scan.to(dtype), gate.to(dtype))
    if updates is None:
        return _shared(*tensors).to(out_dtype)
    return _separate(*tensors, updates.to(dtype)).to(out_dtype)


@torch.library.custom_op('memba_vision::shared_gate', mutates_args=())
def _shared(
    forward_scan: torch.Tensor, backward_scan: torch.Tensor, gate: torch.Tensor
) -> torch.Tensor:
    from memba_vision.ops.numba_kernels import gate as kernels
    from memba_vision.ops.numba_kernels.threads import run

    out = empty_rows_like(gate)
    run(kernels.shared, _count(gate), *map(_rows, (out, forward_scan, backward_scan, gate)))
    return out


@torch.library.custom_op('memba_vision::shared_gate_backward', mutates_args=())
def _shared_backward(
    grad_out: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of either scan, which are equal, and of the gate."""
    from memba_vision.ops.numba_kernels import gate as kernels
    from memba_vision.ops.numba_kernels.threads import run

    grads = empty_rows_like(gate), empty_rows_like(gate)
    tensors = (*grads, grad_out, forward_scan, backward_scan, gate)
    run(kernels.shared_backward, _count(gate), *map(_rows, tensors))
    return grads


@torch.library.custom_op('memba_vision::separate_gates', mutates_args=())
def _separate(
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    updates: torch.Tensor,
) -> torch.Tensor:
    from memba_vision.ops.numba_kernels import gate as kernels
    from memba_vision.ops.numba_kernels.threads import run

    out = empty_rows_like(gate)
    tensors = (out, forward_scan, backward_scan, gate, *updates)
    run(kernels.separate, _count(gate), *map(_rows, tensors))
    return out


@torch.library.custom_op('memba_vision::separate_gates_backward', mutates_args=())
def _separate_backward(
    grad_out: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    updates: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of both scans, of the gate and of its updates."""
    from memba_vision.ops.numba_kernels import gate as kernels
    from memba_vision.ops.numba_kernels.threads import run

    grads = tuple(empty_rows_like(gate) for _ in range(3))
    grad_updates = gate.new_empty(2, *gate.shape)
    inputs = (grad_out, forward_scan, backward_scan, gate, *updates)
    run(kernels.separate_backward, _count(gate), *map(_rows, (*grads, *grad_updates, *inputs)))
    return *grads, grad_updates


@_shared.register_fake
def _(forward_scan, backward_scan, gate):
    return empty_rows_like(gate)


@_shared_backward.register_fake
def _(grad_out, forward_scan, backward_scan, gate):
    return empty_rows_like(gate), empty_rows_like(gate)


@_separate.register_fake
def _(forward_scan, backward_scan, gate, updates):
    return empty_rows_like(gate)


@_separate_backward.register_fake
def _(grad_out, forward_scan, backward_scan, gate, updates):
    grads = tuple(empty_rows_like(gate) for _ in range(3))
    return *grads, gate.new_empty(2, *gate.shape)


def _count(tensor: torch.Tensor) -> int:
    return tensor.shape[0] * tensor.shape[1]


def _rows(tensor: torch.Tensor):
    """(batch, length, dim) as (batch * length, dim), copied only where its rows lie apart."""
    return as_rows(tensor.flatten(0, 1)).numpy()


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate_shared(ctx, grad_out):
    grad_scan, grad_gate = _shared_backward(grad_out, *ctx.saved_tensors)
    return grad_scan, grad_scan, grad_gate


def _differentiate_separate(ctx, grad_out):
    return _separate_backward(grad_out, *ctx.saved_tensors)


_shared.register_autograd(_differentiate_shared, setup_context=_save)
_separate.register_autograd(_differentiate_separate, setup_context=_save)


def _shared_twin(grad_out, forward_scan, backward_scan, gate):
    out = gated_merge_torch(forward_scan, backward_scan, gate, None)
    return gradients(out, (forward_scan, gate), grad_out)


def _separate_twin(grad_out, *inputs):
    return gradients(gated_merge_torch(*inputs), inputs, grad_out)


differentiate_by_twin(_shared_backward, _shared_twin)
differentiate_by_twin(_separate_backward, _separate_twin)
