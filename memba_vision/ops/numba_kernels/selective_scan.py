"""From tensors to the kernels of the selective scan, and back."""

import numpy as np
import torch
import torch.nn.functional as F

from memba_vision.ops.numba_kernels import scan_backward, scan_forward
from memba_vision.ops.numba_kernels.layout import (
    WIDTH,
    empty_like,
    empty_states,
    is_channel_last,
    whole_groups,
)
from memba_vision.ops.numba_kernels.maths import LOG2E
from memba_vision.ops.numba_kernels.threads import run


def forward(u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, keep_states):
    """The result and the states that :func:`backward` starts from; all tensors of one dtype."""
    out, states = empty_like(u), empty_states(u, A, keep_states)
    run(
        scan_forward.forward,
        _items(u),
        _result(out, u),
        states.numpy(),
        *_operands(u, delta, A, B, C, D, delta_bias),
        delta_softplus,
        reverse,
    )
    return out, states


def backward(grad_out, states, u, delta, A, B, C, D, delta_bias, softplus, reverse, needs):
    """Gradients of u, delta, A, B, C, D, delta_bias; empty for those three not in ``needs``.

    ``needs`` says for A, D and delta_bias whether the gradient is asked for.
    """
    (batch, dim, length), state = u.shape, A.shape[1]
    grad_u, grad_delta = empty_like(u), empty_like(delta)
    grad_B, grad_C = u.new_empty(2, batch, -(-dim // WIDTH), length, whole_groups(state))
    grad_A, grad_D, grad_bias = (
        u.new_empty((batch, rows, dim) if needed else (0, 0, 0))
        for rows, needed in zip((whole_groups(state), 1, 1), needs, strict=True)
    )
    run(
        scan_backward.backward,
        _items(u),
        _result(grad_u, u),
        _result(grad_delta, delta),
        *(grad.numpy() for grad in (grad_A, grad_B, grad_C, grad_D, grad_bias)),
        *_sequence(grad_out),
        states.numpy(),
        *_operands(u, delta, A, B, C, D, delta_bias),
        softplus,
        reverse,
    )
    # Partial sums of a fixed shape, added up in a fixed order: no trace of the threads.
    return (
        grad_u,
        grad_delta,
        grad_A.sum(0)[:state].T,
        grad_B.sum(1)[..., :state].contiguous().transpose(1, 2),
        grad_C.sum(1)[..., :state].contiguous().transpose(1, 2),
        grad_D.sum((0, 1)),
        grad_bias.sum((0, 1)),
    )


def _items(u: torch.Tensor) -> int:
    return u.shape[0] * -(-u.shape[1] // WIDTH)


def _operands(u, delta, A, B, C, D, delta_bias) -> tuple:
    """The inputs as the kernels take them."""
    zeros = np.zeros((1, A.shape[0]), _array(A).dtype)
    missing = whole_groups(A.shape[1]) - A.shape[1]
    A, B, C = A.detach() * LOG2E, B.transpose(1, 2), C.transpose(1, 2)
    if missing:  # a state of zeros, that stays zero and is read by nobody
        A, B, C = (F.pad(tensor, (0, missing)) for tensor in (A, B, C))
    return (
        *_sequence(u),
        *_sequence(delta),
        _array(A.T),
        _array(B),
        _array(C),
        zeros if D is None else _array(D)[None],
        zeros if delta_bias is None else _array(delta_bias)[None],
    )


def _sequence(tensor: torch.Tensor) -> tuple[np.ndarray, bool]:
    """(batch, dim, length) as a contiguous array, and whether that has the channels last."""
    last = is_channel_last(tensor)
    return _array(tensor.transpose(1, 2) if last else tensor), last


def _result(tensor: torch.Tensor, like: torch.Tensor) -> np.ndarray:
    """Memory for a result, with the axes in the order that :func:`_sequence` has for ``like``.

    The result itself cannot be asked: of one channel or one position, it is laid out in both ways.
    """
    return (tensor.transpose(1, 2) if is_channel_last(like) else tensor).numpy()


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
