"""Block sizes and memory layouts of the kernels' tensors. Importing this does not need numba."""

import importlib.util
import logging
from functools import cache

import torch

from memba_vision.ops.membrane_settings import MembraneSettings

# Not imported: that takes a second, and runs on a GPU do not need it.
HAS_NUMBA = importlib.util.find_spec('numba') is not None
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

# Channels side by side in a tile, the SIMD axis; positions from one kept state to the next; and
# state dimensions that are worked on at once, held in registers.
WIDTH = 32
STEPS = 16
GROUP = 4


def is_channel_last(tensor: torch.Tensor) -> bool:
    """Whether (batch, dim, length) is a view of contiguous (batch, length, dim) memory."""
    return tensor.transpose(1, 2).is_contiguous()


def empty_like(tensor: torch.Tensor) -> torch.Tensor:
    """An uninitialised (batch, dim, length), channel-last where ``tensor`` is."""
    batch, dim, length = tensor.shape
    if is_channel_last(tensor):
        return tensor.new_empty(batch, length, dim).transpose(1, 2)
    return tensor.new_empty(batch, dim, length)


def empty_states(u: torch.Tensor, A: torch.Tensor, keep: bool) -> torch.Tensor:
    """Memory for the state at the start of each tile; (batch, blocks, tiles, state, WIDTH)."""
    batch, dim, length = u.shape
    tiles = -(-length // STEPS) if keep else 0
    return u.new_empty(batch, -(-dim // WIDTH), tiles, whole_groups(A.shape[1]), WIDTH)


def whole_groups(state: int) -> int:
    """``state`` dimensions filled up to a multiple of ``GROUP``."""
    return -(-state // GROUP) * GROUP


def unsupported_reason(tensor: torch.Tensor, channel_axis: int | None = None) -> str | None:
    """Return the reason that numba's kernels cannot run on tensors like this one, None if they can.

    Args:
        tensor: the first tensor of an op.
        channel_axis: the axis of its channels, for kernels that need ``WIDTH`` or more of them.
    """
    if tensor.device.type != 'cpu':
        return f'it runs on the CPU and the tensors are on {tensor.device}'
    if tensor.dtype not in DTYPES:
        return f'it takes floating-point tensors and these are {tensor.dtype}'
    if not HAS_NUMBA:
        _warn_once('numba is not installed: plain torch takes several times as long on a CPU')
        return 'numba is not installed; pip install numba'
    if channel_axis is not None and tensor.shape[channel_axis] < WIDTH:
        return f'it takes {WIDTH} channels or more and there are {tensor.shape[channel_axis]}'
    return None


@cache
def _warn_once(message: str) -> None:
    logging.getLogger(__name__).warning(message)


def as_rows(tensor: torch.Tensor) -> torch.Tensor:
    """Return ``tensor``, detached, if its last stride is 1, otherwise a contiguous copy."""
    tensor = tensor.detach()
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def initial_or_zeros(
    initial: torch.Tensor | None, sequence: torch.Tensor, settings: MembraneSettings
) -> torch.Tensor:
    """Return ``initial``, (2 * batch, dim, chunk), or zeros, in the dtype of ``sequence``."""
    if initial is not None:
        return initial.to(sequence.dtype)
    batch, dim, length = sequence.shape
    return sequence.new_zeros(2 * batch, settings.chunk(length), dim).mT
