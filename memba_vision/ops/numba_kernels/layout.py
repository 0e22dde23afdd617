"""Sizes and memory layouts of the selective scan's tensors; known without numba."""

import importlib.util
import logging
from functools import cache

import torch

# Looked up, not imported: numba takes a second to import, and a GPU needs none of it.
HAS_NUMBA = importlib.util.find_spec('numba') is not None
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

# Channels side by side in a tile, the SIMD axis; positions from one kept state to the next; and
# state dimensions that are worked on at once, held in registers, where there are as many.
WIDTH = 32
STEPS = 16
GROUP = 4


def is_channel_last(tensor: torch.Tensor) -> bool:
    """Return True if (…, dim, length) is a view of contiguous (…, length, dim) memory."""
    return tensor.mT.is_contiguous()


def empty_like(tensor: torch.Tensor) -> torch.Tensor:
    """An uninitialised (…, dim, length), channel-last where ``tensor`` is."""
    if is_channel_last(tensor):
        return tensor.new_empty(tensor.mT.shape).mT
    return tensor.new_empty(tensor.shape)


def empty_states(u: torch.Tensor, A: torch.Tensor, keep: bool) -> torch.Tensor:
    """Memory for the state at the start of each tile; (scans, batch, blocks, tiles, state, WIDTH).

    ``A`` is (dim, state) of one scan, or (scans, dim, state).
    """
    batch, dim, length = u.shape
    tiles = -(-length // STEPS) if keep else 0
    scans = A.shape[0] if A.ndim == 3 else 1
    state = whole_groups(A.shape[-1])
    return u.new_empty(scans, batch, -(-dim // WIDTH), tiles, state, WIDTH)


def group_size(state: int) -> int:
    """Return how many of ``state`` dimensions are worked on at once."""
    return state if state < 3 else GROUP


def whole_groups(state: int) -> int:
    """Return ``state`` filled up to a multiple of :func:`group_size`."""
    group = group_size(state)
    return -(-state // group) * group


def obstacle(tensor: torch.Tensor) -> str | None:
    """Why numba's kernels cannot run on tensors like this one, or None where they can."""
    if tensor.device.type != 'cpu':
        return f'it runs on the CPU and the tensors are on {tensor.device}'
    if tensor.dtype not in DTYPES:
        return f'it takes floating-point tensors and these are {tensor.dtype}'
    if not HAS_NUMBA:
        _say_once('numba is not installed: plain torch takes several times as long on a CPU')
        return 'numba is not installed; pip install numba'
    return None


@cache
def _say_once(message: str) -> None:
    logging.getLogger(__name__).warning(message)


def row_obstacle(tensor: torch.Tensor) -> str | None:
    """As :func:`obstacle`, for kernels that need a whole row of channels, the last axis."""
    return obstacle(tensor) or too_few(tensor, axis=-1)


def channel_obstacle(tensor: torch.Tensor) -> str | None:
    """As :func:`row_obstacle`, of (batch, dim, length)."""
    return obstacle(tensor) or too_few(tensor, axis=1)


def too_few(tensor: torch.Tensor, axis: int) -> str | None:
    """Why an axis of channels is too short for a row, or None where it is not."""
    channels = tensor.shape[axis]
    if channels < WIDTH:
        return f'it takes {WIDTH} channels or more and there are {channels}'
    return None


def as_rows(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself where the numbers of a row are neighbours in memory, or else a copy."""
    tensor = tensor.detach()
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def empty_rows_like(tensor: torch.Tensor) -> torch.Tensor:
    """An uninitialised tensor of the same shape, contiguous."""
    return tensor.new_empty(tensor.shape)


def state_or_zeros(
    initial: torch.Tensor | None, current: torch.Tensor, num_chunks: int, dtype: torch.dtype
) -> torch.Tensor:
    """A membrane's initial state (2 * batch, dim, chunk) as (2 * batch, chunk, dim)."""
    if initial is not None:
        return initial.to(dtype).transpose(1, 2)
    batch, length, dim = current.shape
    return current.new_zeros(2 * batch, -(-length // num_chunks), dim, dtype=dtype)
