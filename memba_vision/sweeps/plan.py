"""What a sweep will take, before it starts."""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean

import torch

from memba_vision.apis.tables import markdown_table
from memba_vision.sweeps.calibration import Cost, cost, measure_all, measure_start, model_key
from memba_vision.sweeps.console import duration
from memba_vision.sweeps.jobs import Job
from memba_vision.sweeps.status import run_status

WORKERS = (1, 2, 4, 8, 16, 32)


def make_plan(jobs: Sequence[Job], slots: int, threads: int, workers: Sequence[int]) -> str:
    """Measure a few steps of each model here, and say what the runs will take.

    Args:
        jobs: the runs; those that have finished are left out.
        slots: how many runs this machine does at a time.
        threads: how many threads each of them has on the CPU.
        workers: further numbers of runs at a time; empty: some powers of two.

    Returns:
        A text with two tables in Markdown.
    """
    open_jobs = [job for job in jobs if run_status(job.folder).state != 'finished']
    if not open_jobs:
        return f'all {len(jobs)} runs have finished\n'
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if device.type == 'cpu':
        torch.set_num_threads(threads)
    start, speeds = measure_start(), measure_all(open_jobs, device)
    costs = {job.name: cost(job, speeds[model_key(job)], start) for job in open_jobs}
    counts = sorted({slots, *(workers or [n for n in WORKERS if n <= len(open_jobs)])})
    where = torch.cuda.get_device_name(device) if device.type == 'cuda' else _cpu(threads)
    return '\n'.join(
        [
            f'{len(open_jobs)} runs to do, {len(jobs) - len(open_jobs)} finished; '
            f'measured on {where}, with a few steps of each model',
            '',
            _methods_table(open_jobs, costs),
            _workers_table([c.seconds for c in costs.values()], counts, slots),
            f'On the disk: about {size(sum(c.disk for c in costs.values()))}. Reading images is '
            'not in these times, nor what runs that share a device cost each other.',
            '',
        ]
    )


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last run ends, if each worker takes the next one as soon as it is free."""
    free_at = [0.0] * workers
    for run in seconds:
        heapq.heappush(free_at, heapq.heappop(free_at) + run)
    return max(free_at)


def size(count: int) -> str:
    """Bytes as people say them."""
    for unit in ('B', 'kB', 'MB', 'GB'):
        if count < 1000:
            return f'{count:.0f} {unit}'
        count /= 1000
    return f'{count:.1f} TB'


def _cpu(threads: int) -> str:
    return f'the CPU ({threads} thread{"s" if threads > 1 else ""} a run)'


def _methods_table(jobs: Sequence[Job], costs: dict[str, Cost]) -> str:
    by_method = defaultdict(list)
    for job in jobs:
        by_method[job.method].append(costs[job.name])
    rows = [
        (
            method,
            f'{len(own)}',
            duration(mean(c.seconds for c in own)),
            duration(sum(c.seconds for c in own)),
            size(max(c.disk for c in own)),
        )
        for method, own in by_method.items()
    ]
    return markdown_table([('method', 'runs', 'a run', 'all runs', 'disk a run'), *rows], 1)


def _workers_table(seconds: Sequence[float], counts: Sequence[int], slots: int) -> str:
    rows = [
        (
            f'{count}{" (this machine)" if count == slots else ""}',
            duration(makespan(seconds, count)),
        )
        for count in counts
    ]
    return markdown_table([('runs at a time', 'the whole sweep'), *rows], 1)
