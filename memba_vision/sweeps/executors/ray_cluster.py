"""Executor for a Ray cluster: every run is a task with its cores and GPUs."""

from __future__ import annotations

import argparse
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memba_vision.errors import ExitStatus, UserError
from memba_vision.sweeps.executors import register
from memba_vision.sweeps.executors.base import (
    BAD_STARTS,
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


#: Statuses of tries that did not begin through no fault of their node.
NO_FAULT = (ExitStatus.FINISHED, ExitStatus.BUSY, ExitStatus.TERMINATED)


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
        self.never_began: Counter[str] = Counter()  # tries that ended before their run, by node
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
        nodes = self._nodes()
        if self._with_room(nodes):
            return
        self.ray.shutdown()
        sizes = sorted({_size(node) for node in nodes})
        found = ', '.join(f'{cpus} cores and {gpus} GPUs' for cpus, gpus in sizes)
        raise UserError(
            f'--executor ray: a run asks for {self.cpus} cores and {self.gpus} GPUs, and no node '
            f'has that (the nodes have {found}): give --cpus-per-run and --gpus-per-run'
        )

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.ray.nodes() if node['Alive']]

    def _with_room(self, nodes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the nodes that can take a run when they have nothing else to do."""
        sizes = [(node, *_size(node)) for node in nodes]
        return [node for node, cpus, gpus in sizes if cpus >= self.cpus and gpus >= self.gpus]

    def _strategy(self) -> Any:
        """Return what keeps a task from nodes on which several tries ended before their runs.

        Raises:
            UserError: no other node can take a run.
        """
        bad = {node for node, count in self.never_began.items() if count >= BAD_STARTS}
        nodes = [node for node in self._nodes() if node['NodeID'] in bad]
        if not nodes:
            return 'DEFAULT'
        if not self._with_room(node for node in self._nodes() if node['NodeID'] not in bad):
            hosts = ', '.join(sorted({node['NodeManagerHostname'] for node in nodes}))
            raise UserError(
                f'--executor ray: on every node that can take a run ({hosts}) {BAD_STARTS} ended '
                'before they began: see that Python, the package and the folder are there'
            )
        from ray.util.scheduling_strategies import NodeLabelSchedulingStrategy, NotIn

        # The label's name differs between versions of Ray.
        label = next(k for k, value in nodes[0]['Labels'].items() if value == nodes[0]['NodeID'])
        return NodeLabelSchedulingStrategy(hard={label: NotIn(*sorted(bad))})

    @classmethod
    def add_arguments(cls, group: argparse._ArgumentGroup) -> None:
        """Add the option for the cluster."""
        group.add_argument(
            '--ray-address',
            metavar='ADDRESS',
            help="'auto' or HOST:PORT of a running cluster (default: one for this sweep, here)",
        )

    def start(self, job: Job) -> Attempt:
        """Submit the run to Ray.

        Raises:
            UserError: nodes that could take it have let others end before they began.
        """
        environment = {'OMP_NUM_THREADS': str(self.cpus)}
        command = supervised(job, environment, max(1, self.gpus))
        # No retries: the sweep counts lost nodes, and starts the run again.
        task = self.ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0)
        options = dict(name=job.name, scheduling_strategy=self._strategy())
        reference = task(_reporting(caller(command))).options(**options).remote()
        return RayAttempt(self.ray, reference, job.folder, self.never_began)

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


def _size(node: dict[str, Any]) -> tuple[int, int]:
    """Return the numbers of cores and GPUs of a node."""
    return int(node['Resources'].get('CPU', 0)), int(node['Resources'].get('GPU', 0))


def _reporting(call: Callable[..., int]) -> Callable[[], tuple[int, str, str, str]]:
    """Return a function that returns a call's status, node, host and what it said of errors."""
    lost = LOST

    def report() -> tuple[int, str, str, str]:
        import socket
        import tempfile

        import ray

        place = ray.get_runtime_context().get_node_id(), socket.gethostname()
        with tempfile.TemporaryFile() as said:
            try:
                status = call(said)
            except OSError as error:  # there is no such program
                return lost, *place, str(error)
            said.seek(0)
            return status, *place, said.read()[-4000:].decode(errors='replace')

    return report


class RayAttempt(Attempt):
    """A task in Ray.

    Args:
        ray: the package.
        reference: to the task's result.
        folder: the run's folder.
        never_began: counts the tries that ended before their runs began, by node.
    """

    def __init__(self, ray: Any, reference: Any, folder: Path, never_began: Counter[str]) -> None:
        self.ray, self.reference, self.folder = ray, reference, folder
        self.never_began = never_began
        self.tries_before = tries_that_ended(folder)

    def poll(self) -> Ended | None:
        """See :class:`Attempt`."""
        done, _ = self.ray.wait([self.reference], timeout=0)
        if not done:
            return None
        try:
            status, node, host, said = self.ray.get(self.reference)
        except self.ray.exceptions.RayError as error:
            # A task's own error has the call's whole traceback, and a cause.
            lines = str(getattr(error, 'cause', None) or error).strip().splitlines()
            return Ended(LOST, f'Ray lost it: {(lines or [type(error).__name__])[0]}')
        if self._has_begun() or status in NO_FAULT:
            return Ended(status)
        self.never_began[node] += 1
        if not last_words(said):
            return Ended(status, f'ended on {host} before the run began')
        return Ended(status, f'ended on {host} before the run began: {last_words(said)}')

    def place(self) -> str | None:
        """See :class:`Attempt`."""
        return read_status(str(self.folder)).get('host', '') if self._has_begun() else None

    def _has_begun(self) -> bool:
        return read_status(str(self.folder)).get('tries', 0) > self.tries_before

    def stop(self, at_once: bool = False) -> None:
        """See :class:`Attempt`."""
        self.ray.cancel(self.reference, force=at_once)
