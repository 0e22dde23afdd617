"""Peak memory of a call beyond the memory in use before it."""

import ctypes
import gc
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from unittest import mock

import torch

from memba_vision.engine.allocator import keep_freed_memory

#: Silences what :func:`memba_vision.registry.ignore_missing_operator` silences, in other processes.
NO_MMCV_OPERATORS = 'ignore:Fail to import'
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


def peak_memory_of_its_own(build: Callable[[], Callable[[], object]]) -> int | None:
    """Bytes that a call on the CPU adds at its peak, in a fresh process; None as above.

    What other calls left behind, in memory that is free but not given back, would not be counted.

    Args:
        build: makes the call; it is pickled. The call's second run is weighed: the first also
            compiles, and makes what stays, as an optimizer's states.
    """
    if 'forkserver' not in multiprocessing.get_all_start_methods():
        return None
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['torch', 'timm', 'peft', 'memba_vision.models'])
    quiet = mock.patch.dict(os.environ, PYTHONWARNINGS=NO_MMCV_OPERATORS)
    threads = (torch.get_num_threads(),)
    with quiet, ProcessPoolExecutor(1, context, torch.set_num_threads, threads) as process:
        try:
            return process.submit(_peak_of_second_run, build).result()
        except BrokenProcessPool:
            return None


def _peak_of_second_run(build: Callable[[], Callable[[], object]]) -> int | None:
    keep_freed_memory()  # as the tools do
    call = build()
    call()
    return peak_memory(call, torch.device('cpu'))


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
