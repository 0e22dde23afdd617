"""Base weights of a sweep, fetched once before its first run."""

from collections.abc import Sequence

from memba_vision.runs.base_weights import base_weights, fetch_base_weights
from memba_vision.sweeps.jobs import Job
from memba_vision.sweeps.supervise import read_status


def fetch_weights(jobs: Sequence[Job]) -> None:
    """Look for the base weights of all runs that have not finished, and download those that lack.

    Raises:
        MissingWeights: some are not there, so that those runs would fail one after the other.
    """
    users: dict[tuple[str, ...], Job] = {}
    for job in jobs:
        if read_status(str(job.folder)).get('state') != 'finished':
            users.setdefault(base_weights(job.resolved), job)
    for job in users.values():
        fetch_base_weights(job.resolved)
