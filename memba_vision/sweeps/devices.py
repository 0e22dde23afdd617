"""Division of a machine's GPUs or cores among runs."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from memba_vision.errors import UserError

CORES_PER_JOB = 2  # without --jobs


@dataclass(frozen=True)
class Slot:
    """Share of the machine that one run has.

    Attributes:
        gpus: names of GPUs as ``CUDA_VISIBLE_DEVICES`` has them; none on a CPU.
        threads: number of threads. Two runs with as many threads each as there are cores take ten
            times as long, not twice: each waits for threads that do not run.
    """

    gpus: tuple[str, ...]
    threads: int

    def environment(self) -> dict[str, str]:
        """Return the environment variables that keep a run to its share."""
        return {
            'CUDA_VISIBLE_DEVICES': ','.join(self.gpus),
            'OMP_NUM_THREADS': str(self.threads),
        }


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Return the GPUs that torch may use, by their names in ``CUDA_VISIBLE_DEVICES``."""
    import torch  # not above: the help of tools imports this file

    if not torch.cuda.is_available():
        return []
    named = os.environ.get('CUDA_VISIBLE_DEVICES', '')
    every = [str(number) for number in range(torch.cuda.device_count())]
    return [name.strip() for name in named.split(',')] if named else every


def gpu_slots(gpus: Sequence[str], jobs_per_gpu: int, gpus_per_run: int, cores: int) -> list[Slot]:
    """Return slots for runs on GPUs.

    Args:
        gpus: the GPUs to use.
        jobs_per_gpu: runs that share one.
        gpus_per_run: GPUs that one run trains on.
        cores: the machine's cores.

    Raises:
        UserError: runs share GPUs and need several, or there are too few GPUs.
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
    """Return ``jobs`` slots for runs on the CPU; for None, one for every two cores."""
    jobs = jobs or max(1, cores // CORES_PER_JOB)
    return [Slot((), threads_of(cores, jobs))] * jobs


def threads_of(cores: int, jobs: int) -> int:
    """Return the threads of each of ``jobs`` runs at a time, limited by OMP_NUM_THREADS."""
    share = max(1, cores // jobs)
    allowed = os.environ.get('OMP_NUM_THREADS', '')
    return min(share, int(allowed)) if allowed.isdigit() and int(allowed) else share
