"""Block sizes and memory layouts of the kernels' tensors. Importing this does not need numba."""

import functools
import importlib.util
import logging
from functools import cache

import numpy as np
import torch

from memba_vision.ops.membrane_settings import MembraneSettings

# Not imported: that takes a second, and runs on a GPU do not need it.
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
    """Allocate a (…, dim, length), channel-last where ``tensor`` is."""
    if is_channel_last(tensor):
        return tensor.new_empty(tensor.mT.shape).mT
    return tensor.new_empty(tensor.shape)


def empty_states(u: torch.Tensor, A: torch.Tensor, keep: bool) -> torch.Tensor:
    """Allocate the states at the start of tiles, (scans, batch, blocks, tiles, state, WIDTH).

    ``A`` is (dim, state) of one scan, or (scans, dim, state).
    """
    batch, dim, length = u.shape
    tiles = -(-length // STEPS) if keep else 0
    scans = A.shape[0] if A.ndim == 3 else 1
    state = whole_groups(A.shape[-1])
    return A.new_empty(scans, batch, -(-dim // WIDTH), tiles, state, WIDTH)


def group_size(state: int) -> int:
    """Return how many of ``state`` dimensions are worked on at once."""
    return state if state < 3 else GROUP


def whole_groups(state: int) -> int:
    """Return ``state`` filled up to a multiple of :func:`group_size`."""
    group = group_size(state)
    return -(-state // group) * group


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


def computed_in(tensor: torch.Tensor) -> torch.dtype:
    """Return the precision that kernels compute in with tensors like this one."""
    return torch.promote_types(tensor.dtype, torch.float32)


def as_sequences(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Return tensors of one dtype that kernels read: their own if that is bfloat16, or a wider."""
    if all(tensor.dtype == torch.bfloat16 for tensor in tensors):
        return list(tensors)
    dtype = functools.reduce(torch.promote_types, map(computed_in, tensors))
    return [tensor.to(dtype) for tensor in tensors]


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """Return the memory of a tensor without gradient; of bfloat16, which numpy lacks, the bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def as_rows(tensor: torch.Tensor) -> np.ndarray:
    """Return the memory of ``tensor`` if its last stride is 1, otherwise that of a copy."""
    tensor = tensor.detach()
    return as_array(tensor if tensor.stride(-1) == 1 else tensor.contiguous())


def initial_or_zeros(
    initial: torch.Tensor | None, sequence: torch.Tensor, settings: MembraneSettings
) -> torch.Tensor:
    """Return ``initial``, (2 * batch, dim, chunk), or zeros, for kernels over ``sequence``."""
    dtype = computed_in(sequence)
    if initial is not None:
        return initial.to(dtype)
    batch, dim, length = sequence.shape
    return sequence.new_zeros(2 * batch, settings.chunk(length), dim, dtype=dtype).mT
