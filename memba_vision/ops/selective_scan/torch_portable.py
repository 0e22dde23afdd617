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

import torch
import torch.nn.functional as F

from memba_vision.ops.selective_scan.table import BACKENDS


@BACKENDS.register('portable', priority=-1, portable=True)
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
    work_dtype = torch.promote_types(u.dtype, torch.float32)
    out_dtype = u.dtype
    u, delta, A, B, C = (tensor.to(work_dtype) for tensor in (u, delta, A, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias.to(work_dtype)[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    sequences = [tensor.flip(-1) if reverse else tensor for tensor in (u, delta, B, C)]
    out = _scan(*(_in_chunks(tensor) for tensor in sequences), A.T)
    out = out.flatten(1, 2)[:, : u.shape[-1]].transpose(1, 2)
    if reverse:
        out = out.flip(-1)
    if D is not None:
        out = out + u * D.to(work_dtype)[:, None]
    if z is not None:
        out = out * F.silu(z.to(work_dtype))
    return out.to(out_dtype)


def _in_chunks(sequence: torch.Tensor) -> torch.Tensor:
    """(batch, channels, length) to (batch, chunks, chunk, channels), zeros behind the end.

    A step size of zero leaves the state as it is.
    """
    length = sequence.shape[-1]
    chunk = math.isqrt(length - 1) + 1 if length > 1 else 1
    chunks = -(-length // chunk)
    padded = F.pad(sequence, (0, chunks * chunk - length))
    return padded.unflatten(-1, (chunks, chunk)).permute(0, 2, 3, 1)


def _scan(
    u: torch.Tensor, delta: torch.Tensor, B: torch.Tensor, C: torch.Tensor, A: torch.Tensor
) -> torch.Tensor:
    """The bare recurrence over sequences in chunks; ``A`` is (state, dim)."""
    # From here on (batch, chunks, chunk, state, dim), or without the axis of positions.
    decays = (delta[..., None, :] * A).exp()
    inputs = (delta * u)[..., None, :] * B[..., None]
    alone = torch.stack(_recurrence(decays.unbind(2), inputs.unbind(2)), dim=2)
    since_start = (delta.cumsum(2)[..., None, :] * A).exp()
    ends = _recurrence(since_start[:, :, -1].unbind(1), alone[:, :, -1].unbind(1))
    starts = torch.stack([torch.zeros_like(ends[0]), *ends[:-1]], dim=1)
    states = alone + since_start * starts[:, :, None]
    return (C[..., None, :] @ states)[..., 0, :]


def _recurrence(
    decays: tuple[torch.Tensor, ...], inputs: tuple[torch.Tensor, ...]
) -> list[torch.Tensor]:
    """``h[t] = decays[t] * h[t - 1] + inputs[t]`` from a state of zero."""
    states = [inputs[0]]
    for decay, added in zip(decays[1:], inputs[1:], strict=True):
        states.append(decay * states[-1] + added)
    return states
