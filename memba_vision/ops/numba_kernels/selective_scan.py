"""Calls of the kernels of the selective scan: tensors to their arrays, and back.

All tensors are of one dtype, but for sequences of bfloat16, beside which all others are float32.
There is a ``delta`` for each scan; where there are several, A, B, C, D and delta_bias have an axis
of scans in front.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from memba_vision.ops.numba_kernels import scan_backward, scan_forward
from memba_vision.ops.numba_kernels.layout import (
    WIDTH,
    as_array,
    empty_like,
    empty_states,
    group_size,
    is_channel_last,
    whole_groups,
)
from memba_vision.ops.numba_kernels.maths import LOG2E
from memba_vision.ops.numba_kernels.threads import run


def forward(u, delta, A, B, C, D, delta_bias, softplus, reverse, rows, keep_states):
    """Return the result, summed over all scans, and the states that :func:`backward` needs."""
    out, states = empty_like(u), empty_states(u, A, keep_states)
    tensors = _with_scans(A, B, C, D, delta_bias)
    inputs = _inputs(u, delta, *tensors, softplus, reverse, rows)
    run(scan_forward.forward, _items(u), _result(out, u), states.numpy(), inputs)
    return out, states


def backward(
    grad_out, states, u, delta, A, B, C, D, delta_bias, softplus, reverse, rows, needs
) -> list[torch.Tensor]:
    """Return the gradients of u, delta, A, B, C, D, delta_bias.

    ``needs`` says for A, D and delta_bias whether the gradient is asked for; it is empty if not.
    """
    one = A.ndim == 2
    A, B, C, D, delta_bias = _with_scans(A, B, C, D, delta_bias)
    (batch, dim, length), (scans, _, state) = u.shape, A.shape
    filled = whole_groups(state)
    grad_u, grad_delta = empty_like(u), [empty_like(delta[0]) for _ in delta]
    grad_B, grad_C = A.new_empty(2, scans, batch, -(-dim // WIDTH), length, filled)
    grad_A, grad_D, grad_bias = (
        A.new_empty((scans, batch, rows, dim) if needed else (0, 0, 0, 0))
        for rows, needed in zip((filled, 1, 1), needs, strict=True)
    )
    grads = scan_backward.Gradients(
        _result(grad_u, u),
        tuple(_result(grad, delta[0]) for grad in grad_delta),
        *(grad.numpy() for grad in (grad_A, grad_B, grad_C, grad_D, grad_bias)),
    )
    inputs = _inputs(u, delta, A, B, C, D, delta_bias, softplus, reverse, rows)
    run(scan_backward.backward, _items(u), grads, *_sequence(grad_out), states.numpy(), inputs)
    # Partial sums of a fixed shape, added up in a fixed order: no trace of the threads.
    per_scan = (
        (grad_A.sum(1)[:, :state].mT, needs[0]),
        (grad_B.sum(2)[..., :state].contiguous().mT, True),
        (grad_C.sum(2)[..., :state].contiguous().mT, True),
        (grad_D.sum((1, 2)), needs[1]),
        (grad_bias.sum((1, 2)), needs[2]),
    )
    others = ((grad[0] if one else grad) if needed else u.new_empty(0) for grad, needed in per_scan)
    return [grad_u, *grad_delta, *others]


def _items(u: torch.Tensor) -> int:
    return u.shape[0] * -(-u.shape[1] // WIDTH)


def _with_scans(A, *others) -> list[torch.Tensor | None]:
    """Give the tensors of a single scan an axis of scans in front."""
    tensors = A, *others
    return [t if t is None or A.ndim == 3 else t[None] for t in tensors]


def _inputs(u, delta, A, B, C, D, bias, softplus, reverse, rows) -> scan_forward.Inputs:
    """Lay the tensors out as the kernels take them."""
    scans, dim, state = A.shape
    missing = whole_groups(state) - state
    A, B, C = A.detach() * LOG2E, B.mT, C.mT
    if missing:  # a state of zeros, that stays zero and is read by nobody
        A, B, C = (F.pad(tensor, (0, missing)) for tensor in (A, B, C))
    zeros = np.zeros((scans, 1, dim), _array(A).dtype)
    last = is_channel_last(delta[0])
    return scan_forward.Inputs(
        *_sequence(u),
        tuple(_array(step.mT if last else step) for step in delta),
        last,
        scan_order(u.shape[2], tuple(reverse), tuple(rows)),
        _array(A.mT),
        _array(B),
        _array(C),
        *(zeros if weight is None else _array(weight)[:, None] for weight in (D, bias)),
        softplus,
        tuple(range(group_size(state))),
    )


@lru_cache(maxsize=64)
def scan_order(length: int, reverse: tuple[bool, ...], rows: tuple[int, ...]) -> np.ndarray:
    """Return the positions in the order of each scan, (scans, length) int32.

    A scan goes down the columns of an image of ``rows`` rows; one row makes a plain sequence.
    """
    steps = np.arange(length, dtype=np.int32)
    walks = (steps % count * (length // count) + steps // count for count in rows)
    return np.stack(
        [walk[::-1] if backwards else walk for walk, backwards in zip(walks, reverse, strict=True)]
    )


def _sequence(tensor: torch.Tensor) -> tuple[np.ndarray, bool]:
    """Return (…, dim, length) as a contiguous array; True if that has the channels last."""
    last = is_channel_last(tensor)
    return _array(tensor.mT if last else tensor), last


def _result(tensor: torch.Tensor, like: torch.Tensor) -> np.ndarray:
    """Return the memory of a result, its axes in the order that :func:`_sequence` has for ``like``.

    The result itself cannot be asked: of one channel or one position, it is laid out in both ways.
    """
    return as_array(tensor.mT if is_channel_last(like) else tensor)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return as_array(tensor.detach().contiguous())
