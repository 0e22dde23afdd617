"""The gate on a CPU, in one pass over memory; compiled by numba at the first call.

Kernels: :mod:`memba_vision.ops.numba_kernels.gate`.
"""

from functools import partial

import torch

from memba_vision.ops.compiled import compiled_op
from memba_vision.ops.gated_merge import BACKENDS
from memba_vision.ops.gated_merge.torch_gate import gated_merge_torch, merged_dtype
from memba_vision.ops.layout import empty_contiguous
from memba_vision.ops.numba_kernels.layout import as_rows, as_sequences, unsupported_reason
from memba_vision.ops.numba_kernels.threads import run


@BACKENDS.register(
    'numba', priority=20, unsupported_reason=partial(unsupported_reason, channel_axis=-1)
)
def gated_merge_numba(
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    updates: torch.Tensor | None,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.gated_merge`; bfloat16 and float16 are gated in float32."""
    out_dtype = merged_dtype(forward_scan, backward_scan, gate)
    if updates is None:
        return _shared(*as_sequences(forward_scan, backward_scan, gate)).to(out_dtype)
    return _separate(*as_sequences(forward_scan, backward_scan, gate, updates)).to(out_dtype)


def _outputs(forward_scan, backward_scan, gate, *updates):
    return [empty_contiguous(gate)]


def _shared_forward(*tensors):
    from memba_vision.ops.numba_kernels.gate import shared

    _run_positions(shared, *tensors)


def _shared_backward(grad_scan, _, *tensors):
    from memba_vision.ops.numba_kernels.gate import shared_backward

    _run_positions(shared_backward, grad_scan, *tensors)


def _separate_forward(*tensors_and_updates):
    from memba_vision.ops.numba_kernels.gate import separate

    *tensors, updates = tensors_and_updates
    _run_positions(separate, *tensors, *updates)


def _separate_backward(*tensors_and_updates):
    from memba_vision.ops.numba_kernels.gate import separate_backward

    *grads, grad_updates, grad_out, forward_scan, backward_scan, gate, updates = tensors_and_updates
    tensors = grad_out, forward_scan, backward_scan, gate
    _run_positions(separate_backward, *grads, *grad_updates, *tensors, *updates)


def _run_positions(kernel, *tensors):
    """Run a kernel over all positions of all samples, on (batch, length, dim)."""
    positions = [as_rows(tensor.flatten(0, 1)) for tensor in tensors]
    run(kernel, len(positions[0]), *positions)


_shared = compiled_op(
    'shared_gate',
    '(Tensor forward_scan, Tensor backward_scan, Tensor gate) -> Tensor',
    outputs=_outputs,
    forward=_shared_forward,
    backward=_shared_backward,
    reference=lambda *tensors: gated_merge_torch(*tensors, None),
    gradient_like=empty_contiguous,
    equal={'backward_scan': 'forward_scan'},
)
_separate = compiled_op(
    'separate_gates',
    '(Tensor forward_scan, Tensor backward_scan, Tensor gate, Tensor updates) -> Tensor',
    outputs=_outputs,
    forward=_separate_forward,
    backward=_separate_backward,
    reference=gated_merge_torch,
    gradient_like=empty_contiguous,
)
