"""Executor for a Ray cluster: every run is a task with its cores and GPUs."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memba_vision.errors import UserError
from memba_vision.sweeps.executors import register
from memba_vision.sweeps.executors.base import (
    LOST,
    Attempt,
    Ended,
    Executor,
    caller,
    import_for,
    supervised,
    tries_that_ended,
)
from memba_vision.sweeps.supervise import last_words, read_status

if TYPE_CHECKING:
    from memba_vision.sweeps.jobs import Job


@register('ray')
class RayExecutor(Executor):
    """See :class:`memba_vision.sweeps.executors.base.Executor`.

    Raises:
        UserError: Ray is not installed, there is no cluster at that address, or none of its nodes
            can run what a run asks for.
    """

    help = 'a Ray cluster'

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # sends usage data to Ray's makers
        self.ray = import_for('ray', 'ray')
        self.cpus = args.cpus_per_run
        try:
            self.ray.init(
                address=args.ray_address or 'local',
                include_dashboard=False if not args.ray_address else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises plain ones too, as of a node that begins slowly
            self.ray.shutdown()  # of what it has begun
            raise UserError(_why_not(self.ray, args.ray_address, error)) from error
        if not args.ray_address:  # Ray would wait for ever for more than this machine has
            self.cpus = min(self.cpus, int(self.ray.cluster_resources().get('CPU', 1)))
        has_gpus = self.ray.cluster_resources().get('GPU', 0) > 0
        self.gpus = args.gpus_per_run if args.gpus_per_run is not None else int(has_gpus)
        self._check_room()

    def _check_room(self) -> None:
        """Raise a UserError if no node can take a run: Ray would let it wait for ever."""
        nodes = [node['Resources'] for node in self.ray.nodes() if node['Alive']]
        sizes = {(int(node.get('CPU', 0)), int(node.get('GPU', 0))) for node in nodes}
        if any(cpus >= self.cpus and gpus >= self.gpus for cpus, gpus in sizes):
            return
        self.ray.shutdown()
        found = ', '.join(f'{cpus} cores and {gpus} GPUs' for cpus, gpus in sorted(sizes))
        raise UserError(
            f'--executor ray: a run asks for {self.cpus} cores and {self.gpus} GPUs, and no node '
            f'has that (the nodes have {found}): give --cpus-per-run and --gpus-per-run'
        )

    @classmethod
    def add_arguments(cls, group: argparse._ArgumentGroup) -> None:
        """Add the option for the cluster."""
        group.add_argument(
            '--ray-address',
            metavar='ADDRESS',
            help="'auto' or HOST:PORT of a running cluster (default: one for this sweep, here)",
        )

    def start(self, job: Job) -> Attempt:
        """Submit the run to Ray."""
        environment = {'OMP_NUM_THREADS': str(self.cpus)}
        command = supervised(job, environment, max(1, self.gpus))
        # No retries: the sweep counts lost nodes, and starts the run again.
        task = self.ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)
        reference = task(_reporting(caller(command))).options(name=job.name).remote()
        return RayAttempt(self.ray, reference, job.folder)

    def close(self) -> None:
        """Leave the cluster, and end it if it was started for this sweep."""
        self.ray.shutdown()


TOKEN = (
    'set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH as on the machine that '
    'started it, or copy its ~/.ray/auth_token here'
)


def _why_not(ray: Any, address: str | None, error: Exception) -> str:
    """Return what to do about a cluster that cannot be joined."""
    reason = ' '.join(str(error).split())
    where = f'--ray-address {address}' if address else '--executor ray'
    asks_for_token = getattr(ray.exceptions, 'AuthenticationError', ())  # new in Ray 2.51
    if isinstance(error, asks_for_token) or 'nauthenticated' in reason:
        return f'{where}: the cluster asks for another token ({reason[:200]}): {TOKEN}'
    if isinstance(error, ConnectionError):  # Ray says no more of a cluster that asks for a token
        return (
            f'{where}: no cluster answers there ({reason[:200]}): start one with "ray start '
            '--head" and give the address that it prints, or leave --ray-address out to have one '
            f'here; if one runs there and asks for a token, {TOKEN}'
        )
    return f'{where}: {reason}'


def _reporting(call: Callable[..., int]) -> Callable[[], tuple[int, str, str]]:
    """Return a function that returns a call's status, its host and what it said of errors."""

    def report() -> tuple[int, str, str]:
        import socket
        import tempfile

        with tempfile.TemporaryFile() as said:
            status = call(said)
            said.seek(0)
            return status, socket.gethostname(), said.read()[-4000:].decode(errors='replace')

    return report


class RayAttempt(Attempt):
    """A task in Ray.

    Args:
        ray: the package.
        reference: to the task's result.
        folder: the run's folder.
    """

    def __init__(self, ray: Any, reference: Any, folder: Path) -> None:
        self.ray, self.reference, self.folder = ray, reference, folder
        self.tries_before = tries_that_ended(folder)

    def poll(self) -> Ended | None:
        """See :class:`Attempt`."""
        done, _ = self.ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            status, host, said = self.ray.get(self.reference)
        except self.ray.exceptions.RayError as error:
            # A task's own error has the call's whole traceback, and a cause.
            lines = str(getattr(error, 'cause', None) or error).strip().splitlines()
            return Ended(LOST, f'Ray lost it: {(lines or [type(error).__name__])[0]}')
        if self._has_begun() or not last_words(said):
            return Ended(status)
        return Ended(status, f'ended on {host} before the run began: {last_words(said)}')

    def place(self) -> str | None:
        """See :class:`Attempt`."""
        return read_status(str(self.folder)).get('host', '') if self._has_begun() else None

    def _has_begun(self) -> bool:
        return read_status(str(self.folder)).get('tries', 0) > self.tries_before

    def stop(self, at_once: bool = False) -> None:
        """See :class:`Attempt`."""
        self.ray.cancel(self.reference, force=at_once)
