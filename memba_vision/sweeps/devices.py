"""Sharing out a machine's GPUs or cores among runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from memba_vision.errors import UserError

CORES_PER_JOB = 2  # where nobody says how many runs a CPU is to do at a time


@dataclass(frozen=True)
class Slot:
    """What one run has for itself.

    Attributes:
        gpus: names of GPUs as ``CUDA_VISIBLE_DEVICES`` has them; none on a CPU.
        threads: how many threads it may use. Two runs with as many threads as there are cores
            do not take twice as long, but ten times: each waits for threads that do not run.
    """

    gpus: tuple[str, ...]
    threads: int

    def environment(self) -> dict[str, str]:
        """Environment variables that keep a run to its share."""
        return {
            'CUDA_VISIBLE_DEVICES': ','.join(self.gpus),
            'OMP_NUM_THREADS': str(self.threads),
        }


def usable_cores() -> int:
    """How many cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """The GPUs that torch may use, by the names that ``CUDA_VISIBLE_DEVICES`` knows."""
    import torch  # here alone: the help of tools asks for the number of cores

    if not torch.cuda.is_available():
        return []
    named = os.environ.get('CUDA_VISIBLE_DEVICES', '')
    every = [str(number) for number in range(torch.cuda.device_count())]
    return [name.strip() for name in named.split(',')] if named else every


def gpu_slots(gpus: Sequence[str], jobs_per_gpu: int, gpus_per_run: int, cores: int) -> list[Slot]:
    """Slots for runs on GPUs.

    Args:
        gpus: the GPUs to use.
        jobs_per_gpu: how many runs share one.
        gpus_per_run: how many one run trains on.
        cores: the machine's cores.

    Raises:
        UserError: that does not work out.
    """
    if gpus_per_run > 1 and jobs_per_gpu > 1:
        raise UserError(
            '--jobs-per-gpu goes with runs on one GPU: leave it, or --gpus-per-run, out'
        )
    groups = [tuple(gpus[i : i + gpus_per_run]) for i in range(0, len(gpus), gpus_per_run)]
    whole = [group for group in groups if len(group) == gpus_per_run]
    if not whole:
        raise UserError(f'--gpus-per-run {gpus_per_run}, but there are {len(gpus)} GPUs')
    # Round by round, so that fewer runs than slots get a GPU each.
    return [
        Slot(group, threads_of(cores, len(whole) * jobs_per_gpu))
        for _ in range(jobs_per_gpu)
        for group in whole
    ]


def cpu_slots(jobs: int | None, cores: int) -> list[Slot]:
    """Slots for runs on the CPU: as many as asked for, or one for every two cores."""
    jobs = jobs or max(1, cores // CORES_PER_JOB)
    return [Slot((), threads_of(cores, jobs))] * jobs


def threads_of(cores: int, jobs: int) -> int:
    """The threads that each of some runs at a time gets; at most what OMP_NUM_THREADS allows."""
    share = max(1, cores // jobs)
    allowed = os.environ.get('OMP_NUM_THREADS', '')
    return min(share, int(allowed)) if allowed.isdigit() and int(allowed) else share
