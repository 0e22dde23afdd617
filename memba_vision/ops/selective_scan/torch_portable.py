"""The selective scan in a few hundred plain operators, for graphs that other runtimes execute.

A loop over positions would make a graph with several nodes per position, and an operator of one's
own would run nowhere else. Here the length is cut into about ``sqrt(length)`` chunks of as many
positions. First all chunks are scanned side by side, each from a state of zero; then the states at
their ends are handed from chunk to chunk; then each position gets what its chunk's start adds. A
graph has ``2 * sqrt(length)`` steps instead of ``length``.

No product is ever divided by another one: what decays a chunk's start up to a position is the
exponential of a sum of exponents, none of which is positive, so strong decay ends in zero and not
in infinity over infinity. The whole (batch, length, state, dim) is in memory.
"""

import math
from collections.abc import Sequence
from itertools import repeat

import torch
import torch.nn.functional as F

from memba_vision.ops.second_derivatives import gradients
from memba_vision.ops.selective_scan import BACKENDS
from memba_vision.ops.selective_scan.grids import walk_by_copy
from memba_vision.ops.selective_scan.groups import one_group_at_a_time
from memba_vision.ops.selective_scan.surroundings import scan_with


@BACKENDS.register('portable', priority=-1, portable=True)
@one_group_at_a_time
@walk_by_copy
def selective_scan_portable(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.selective_scan`."""
    return scan_with(_recurrence, u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)


def scan_gradients(
    grad_out: torch.Tensor,
    inputs: Sequence[torch.Tensor | Sequence[torch.Tensor] | None],
    delta_softplus: bool,
    reverse: Sequence[bool],
    rows: Sequence[int],
) -> list[torch.Tensor | None]:
    """Return differentiable gradients of a sum of scans of the same ``u``.

    Args:
        grad_out: gradient of the sum, (batch, dim, length).
        inputs: u, a list with the delta of each scan, A, B, C, and D and delta_bias or None, with
            an axis of scans in front where there are several.
        delta_softplus: pass the step sizes through softplus.
        reverse: of each scan.
        rows: of the image whose columns each scan goes down, or 1.
    """
    u, delta, *others = inputs
    if len(delta) == 1:
        scans = [others]
    else:
        unbound = (repeat(None) if tensor is None else tensor.unbind() for tensor in others)
        scans = zip(*unbound, strict=False)
    out = 0
    for step, (A, B, C, D, bias), *way in zip(delta, scans, reverse, rows, strict=False):
        backwards, count = way
        grid = None if count == 1 else (count, u.shape[-1] // count)
        flags = delta_softplus, backwards
        out = out + selective_scan_portable(u, step, A, B, C, D, None, bias, *flags, grid=grid)
    return gradients(out, [u, *delta, *others], grad_out)


def _recurrence(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    reverse: bool,
) -> torch.Tensor:
    sequences = [tensor.flip(-1) if reverse else tensor for tensor in (u, delta, B, C)]
    out = _scan_chunks(*(_in_chunks(tensor) for tensor in sequences), A.T)
    out = out.flatten(1, 2)[:, : u.shape[-1]].transpose(1, 2)
    return out.flip(-1) if reverse else out


def _in_chunks(sequence: torch.Tensor) -> torch.Tensor:
    """Cut (batch, channels, length) into (batch, chunks, chunk, channels), zeros at the end.

    A step size of zero leaves the state as it is.
    """
    length = sequence.shape[-1]
    chunk = math.isqrt(length - 1) + 1 if length > 1 else 1
    chunks = (length + chunk - 1) // chunk  # of positive numbers: ONNX rounds towards zero
    padded = F.pad(sequence, (0, chunks * chunk - length))
    return padded.unflatten(-1, (chunks, chunk)).permute(0, 2, 3, 1)


def _scan_chunks(
    u: torch.Tensor, delta: torch.Tensor, B: torch.Tensor, C: torch.Tensor, A: torch.Tensor
) -> torch.Tensor:
    """Run the recurrence over sequences in chunks; ``A`` is (state, dim)."""
    # From here on (batch, chunks, chunk, state, dim), or without the axis of positions.
    decays = (delta[..., None, :] * A).exp()
    inputs = (delta * u)[..., None, :] * B[..., None]
    alone = torch.stack(_states(decays.unbind(2), inputs.unbind(2)), dim=2)
    since_start = (delta.cumsum(2)[..., None, :] * A).exp()
    ends = _states(since_start[:, :, -1].unbind(1), alone[:, :, -1].unbind(1))
    starts = torch.stack([torch.zeros_like(ends[0]), *ends[:-1]], dim=1)
    states = alone + since_start * starts[:, :, None]
    return (C[..., None, :] @ states)[..., 0, :]


def _states(
    decays: tuple[torch.Tensor, ...], inputs: tuple[torch.Tensor, ...]
) -> list[torch.Tensor]:
    """Return each ``h[t] = decays[t] * h[t - 1] + inputs[t]``, from a state of zero."""
    states = [inputs[0]]
    for decay, added in zip(decays[1:], inputs[1:], strict=True):
        states.append(decay * states[-1] + added)
    return states
