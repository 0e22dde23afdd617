"""Forecast of the time and disk space that a sweep will take."""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean

import torch

from memba_vision.engine.durations import duration
from memba_vision.reports.text_tables import markdown_table
from memba_vision.sweeps.calibration import Cost, Speed, cost, measure_all, model_key
from memba_vision.sweeps.devices import Slot
from memba_vision.sweeps.jobs import Job
from memba_vision.sweeps.status import run_status

WORKERS = (1, 2, 4, 8, 16, 32)


def make_plan(
    jobs: Sequence[Job], slots: Sequence[Slot], workers: Sequence[int], start: float
) -> str:
    """Measure a few steps of models here, and describe the cost of the runs.

    Args:
        jobs: the runs; finished ones are left out.
        slots: shares of this machine.
        workers: further numbers of runs at a time; if empty, some powers of two.
        start: seconds that a run takes to start.

    Returns:
        A text with two tables in Markdown.
    """
    open_jobs = [job for job in jobs if run_status(job.folder).state != 'finished']
    if not open_jobs:
        return f'all {len(jobs)} runs have finished\n'
    speeds = _measure_in(slots[0], open_jobs)
    costs = {job.name: cost(job, speeds[model_key(job)], start) for job in open_jobs}
    counts = sorted({len(slots), *(workers or [n for n in WORKERS if n <= len(open_jobs)])})
    return '\n'.join(
        [
            f'{len(open_jobs)} runs to do, {len(jobs) - len(open_jobs)} finished; '
            f'measured on {_name(slots[0])}, with a few steps of {_which(speeds)}',
            '',
            _methods_table(open_jobs, costs),
            _workers_table([c.seconds for c in costs.values()], counts, len(slots)),
            f'On the disk: about {size(sum(c.disk for c in costs.values()))}. Reading images is '
            'not in these times, nor a choice by data, nor what runs that share a device cost each '
            'other.',
            '',
        ]
    )


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return the time at which the last run ends if each free worker takes the next one."""
    free_at = [0.0] * workers
    for run in seconds:
        heapq.heappush(free_at, heapq.heappop(free_at) + run)
    return max(free_at)


def size(count: int) -> str:
    """Return a number of bytes in units for reading."""
    for unit in ('B', 'kB', 'MB', 'GB'):
        if count < 1000:
            return f'{count:.0f} {unit}'
        count /= 1000
    return f'{count:.1f} TB'


def _measure_in(slot: Slot, jobs: Sequence[Job]) -> dict[str, Speed]:
    threads = torch.get_num_threads()
    torch.set_num_threads(slot.threads)
    try:
        return measure_all(jobs, torch.device('cuda' if slot.gpus else 'cpu'))
    finally:
        torch.set_num_threads(threads)


def _name(slot: Slot) -> str:
    if slot.gpus:
        return torch.cuda.get_device_name()
    return f'the CPU ({slot.threads} thread{"s" if slot.threads > 1 else ""} a run)'


def _which(speeds: Mapping[str, Speed]) -> str:
    measured = sum(speed.is_measured for speed in speeds.values())
    if measured == len(speeds):
        return 'each model'
    return f'{measured} of {len(speeds)} models; the others count as the mean of those'


def _methods_table(jobs: Sequence[Job], costs: dict[str, Cost]) -> str:
    by_method = defaultdict(list)
    several = len({job.backbone.arch for job in jobs}) > 1
    for job in jobs:
        name = f'{job.method}, {job.backbone.arch}' if several else job.method
        by_method[name].append(costs[job.name])
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
