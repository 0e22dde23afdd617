"""Base weights of a sweep, fetched once before its first run."""

from collections import defaultdict
from collections.abc import Sequence

from memba_vision.runs.base_weights import base_weights, fetch_base_weights
from memba_vision.sweeps.jobs import Job
from memba_vision.sweeps.status import run_status


def fetch_weights(jobs: Sequence[Job]) -> None:
    """Look for the base weights of all runs that have not finished, and download those that lack.

    Raises:
        MissingWeights: some are not there, so that those runs would fail one after the other.
    """
    users: dict[tuple[str, ...], list[Job]] = defaultdict(list)
    for job in jobs:
        users[base_weights(job.resolved)].append(job)
    for places, own in users.items():
        open_jobs = (job for job in own if places and run_status(job.folder).state != 'finished')
        if job := next(open_jobs, None):
            fetch_base_weights(job.resolved)
