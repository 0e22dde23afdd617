"""Updates and gate on a CPU, a stretch of positions at a time.

A stretch of the updates, and of their gradients, is multiplied while it is still in the cache: they
are the widest tensors of Memba's training step, and this halves what the gate adds to its backward
pass. Kernels: :mod:`memba_vision.ops.numba_kernels.gate`; products by oneDNN.
"""

from collections.abc import Callable, Iterator

import torch
from torch.autograd.function import once_differentiable

from memba_vision.ops.linear import onednn
from memba_vision.ops.low_rank_gate.table import BACKENDS
from memba_vision.ops.numba_kernels.layout import as_rows, row_obstacle

#: Numbers in a stretch of (positions, dim), 1.6 MB of float32; measured, and flat around it.
STRETCH = 400_000


def obstacle(tensor: torch.Tensor) -> str | None:
    """Why this cannot run on a tensor like this one, or None where it can."""
    return row_obstacle(tensor) or onednn.obstacle(tensor)


@BACKENDS.register('numba', priority=20, obstacle=obstacle)
def low_rank_gate_numba(
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    hidden: torch.Tensor,
    up: torch.Tensor,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.low_rank_gate`."""
    merged = _Gate.apply(
        forward_scan.flatten(0, 1),
        backward_scan.flatten(0, 1),
        gate.flatten(0, 1),
        hidden.flatten(1, 2),
        up,
    )
    return merged.view(forward_scan.shape)


class _Gate(torch.autograd.Function):
    """On (positions, dim), and (2, positions, rank)."""

    @staticmethod
    def forward(ctx, forward_scan, backward_scan, gate, hidden, up):
        from memba_vision.ops.numba_kernels import gate as kernels

        inputs = tuple(map(as_rows, (forward_scan, backward_scan, gate)))
        out = gate.new_empty(gate.shape)
        updates = gate.new_empty(2, *gate.shape)
        for some in _stretches(gate):
            for way in range(2):
                updates[way, some] = onednn.multiply(hidden[way, some], up)
            _run(kernels.separate, *(tensor[some] for tensor in (out, *inputs, *updates)))
        ctx.save_for_backward(*inputs, hidden, up, updates)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out):
        from memba_vision.ops.numba_kernels import gate as kernels

        *inputs, hidden, up, updates = ctx.saved_tensors
        inputs = as_rows(grad_out), *inputs, *updates
        grads = tuple(grad_out.new_empty(grad_out.shape) for _ in range(3))
        grad_hidden, grad_up = torch.empty_like(hidden), torch.zeros_like(up)
        for some in _stretches(grad_out):
            outputs = [grad[some] for grad in grads]
            grad_updates = outputs[0].new_empty(2, *outputs[0].shape)
            tensors = *outputs, *grad_updates, *(tensor[some] for tensor in inputs)
            _run(kernels.separate_backward, *tensors)
            for way in range(2):
                grad_hidden[way, some] = onednn.multiply(grad_updates[way], up.t())
                grad_up += onednn.outer(grad_updates[way], hidden[way, some])
        return *grads, grad_hidden, grad_up


def _stretches(rows: torch.Tensor) -> Iterator[slice]:
    """Cut (positions, dim), regardless of the number of threads: sums keep their order."""
    positions, dim = rows.shape
    size = max(STRETCH // dim, 1)
    return (slice(p, min(p + size, positions)) for p in range(0, positions, size))


def _run(kernel: Callable, *tensors: torch.Tensor) -> None:
    from memba_vision.ops.numba_kernels.threads import run

    run(kernel, len(tensors[0]), *(tensor.detach().numpy() for tensor in tensors))
