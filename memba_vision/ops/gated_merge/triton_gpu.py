"""The gate on a GPU, in one pass over memory each way.

Kernels: :mod:`memba_vision.ops.triton_kernels.merge`.
"""

import torch

from memba_vision.ops.compiled import compiled_op
from memba_vision.ops.gated_merge import BACKENDS
from memba_vision.ops.gated_merge.torch_gate import gated_merge_torch, merged_dtype
from memba_vision.ops.layout import empty_contiguous
from memba_vision.ops.triton_kernels.presence import DTYPES, PRIORITY, unsupported_reason


@BACKENDS.register(
    'triton', priority=PRIORITY, unsupported_reason=unsupported_reason, dtypes=DTYPES
)
def gated_merge_triton(
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    updates: torch.Tensor | None,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.gated_merge`; computed in float32."""
    dtype = torch.promote_types(forward_scan.dtype, backward_scan.dtype)
    scans = forward_scan.to(dtype), backward_scan.to(dtype)
    return _shared(*scans, gate) if updates is None else _separate(*scans, gate, updates)


def _outputs(forward_scan, backward_scan, gate, *updates):
    dtype = merged_dtype(forward_scan, backward_scan, gate)
    return [forward_scan.new_empty(forward_scan.shape, dtype=dtype)]


def _forward(*tensors):
    from memba_vision.ops.triton_kernels import gated_merge

    gated_merge.forward(*tensors)


def _separate_backward(*tensors):
    from memba_vision.ops.triton_kernels import gated_merge

    gated_merge.backward(*tensors)


def _shared_backward(grad_forward, grad_backward, grad_gate, *others):
    _separate_backward(grad_forward, grad_backward, grad_gate, None, *others)


_shared = compiled_op(
    'shared_gate_triton',
    '(Tensor forward_scan, Tensor backward_scan, Tensor gate) -> Tensor',
    outputs=_outputs,
    forward=_forward,
    backward=_shared_backward,
    reference=lambda *tensors: gated_merge_torch(*tensors, None),
    gradient_like=empty_contiguous,
    equal={'backward_scan': 'forward_scan'},
)
_separate = compiled_op(
    'separate_gates_triton',
    '(Tensor forward_scan, Tensor backward_scan, Tensor gate, Tensor updates) -> Tensor',
    outputs=_outputs,
    forward=_forward,
    backward=_separate_backward,
    reference=gated_merge_torch,
    gradient_like=empty_contiguous,
)
