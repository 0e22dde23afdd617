"""Peak memory of a call beyond the memory in use before it."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

PROCESS = Path('/proc/self')


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that ``call`` adds at its peak; None where this machine cannot tell.

    On a GPU, what torch's allocator counts. On a CPU, the process's resident memory, which only
    Linux can be asked to count anew.
    """
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        _return_free_memory()
        (PROCESS / 'clear_refs').write_text('5')  # the peak becomes what is in use now
        before = _kilobytes(PROCESS / 'status', 'VmRSS')
        call()
        return max(0, _kilobytes(PROCESS / 'status', 'VmHWM') - before) * 1024
    except (OSError, AttributeError):
        return None


def available_memory(device: torch.device) -> int | None:
    """Bytes that a call could still take; None where this machine cannot tell."""
    if device.type == 'cuda':
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    try:
        return _kilobytes(Path('/proc/meminfo'), 'MemAvailable') * 1024
    except OSError:
        return None


def _return_free_memory() -> None:
    """Let the C library hand back what it keeps for later; reused memory would not be counted."""
    ctypes.CDLL(None).malloc_trim(0)


def _kilobytes(file: Path, key: str) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(f'{key}:'))
    return int(line.split()[1])
