"""Executor for Slurm, through submitit: every run is a job."""

from __future__ import annotations

import argparse
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from memba_vision.errors import UserError
from memba_vision.files import write_atomically
from memba_vision.sweeps.executors import register
from memba_vision.sweeps.executors.base import (
    LOST,
    Attempt,
    Ended,
    Executor,
    caller,
    import_for,
    supervised,
)

if TYPE_CHECKING:
    from memba_vision.sweeps.jobs import Job

JOB_FILE = 'slurm_job'  # file in a run's folder with the id of its job
#: Options that submitit has for all clusters; the others are Slurm's own.
SHARED = ('timeout_min', 'mem_gb', 'nodes', 'tasks_per_node', 'cpus_per_task', 'gpus_per_node')
DAY = 24 * 60  # minutes
RESULT_DELAY = 5.0  # seconds that a file may take from one node to another
#: States that submitit takes for those of a job that goes on. Slurm without accounting calls every
#: job unknown, and so does Slurm that has forgotten a job: the queue tells whether it goes on.
DOUBTFUL = ('PREEMPTED', 'UNKNOWN')
DOUBT_DELAY = 30.0  # seconds between two looks into the queue


@register('slurm')
class SlurmExecutor(Executor):
    """See :class:`memba_vision.sweeps.executors.base.Executor`.

    Jobs outlive a sweep that is killed; the same command finds them again.

    Raises:
        UserError: submitit is not installed, Slurm is not there, or it has no such option.
    """

    help = 'Slurm'

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        submitit = import_for('slurm', 'submitit')
        self.gpus = args.gpus_per_run if args.gpus_per_run is not None else 1
        self.cpus = args.cpus_per_run
        self.cluster = args.slurm_cluster
        self.folder = folder / 'slurm'
        defaults = {'timeout_min': DAY, 'cpus_per_task': self.cpus, 'gpus_per_node': self.gpus}
        try:
            self.executor = submitit.AutoExecutor(self.folder, cluster=self.cluster)
            self.executor.update_parameters(**{**defaults, **_options(args.slurm_options)})
        except (RuntimeError, NameError, ValueError, TypeError) as error:
            raise UserError(f'--executor slurm: {" ".join(str(error).split())}') from error

    @classmethod
    def add_arguments(cls, group: argparse._ArgumentGroup) -> None:
        """Add the options of jobs."""
        group.add_argument(
            '--slurm-options',
            nargs='+',
            default=[],
            metavar='KEY=VALUE',
            help='what sbatch is to be asked for: partition=gpu timeout_min=600 mem_gb=32 …',
        )
        group.add_argument(
            '--slurm-cluster',
            choices=['slurm', 'local'],
            default='slurm',
            help="'local': submitit's stand-in for Slurm, to try things out",
        )

    def start(self, job: Job) -> Attempt:
        """Submit the run.

        Raises:
            UserError: Slurm refuses it.
        """
        environment = {'OMP_NUM_THREADS': str(self.cpus)}
        command = supervised(job, environment, max(1, self.gpus))
        self.executor.update_parameters(name=job.name)
        try:
            with interruptible_children():
                submitted = self.executor.submit(caller(command))
        except (RuntimeError, OSError) as error:
            reason = ' '.join(str(error).split())
            raise UserError(f'Slurm does not take {job.name}: {reason}') from error
        write_atomically(job.folder / JOB_FILE, submitted.job_id.encode())
        return SlurmAttempt(submitted)

    def adopt(self, job: Job) -> Attempt | None:
        """Return the run's job of an earlier sweep if Slurm still has it."""
        path = job.folder / JOB_FILE
        if self.cluster != 'slurm' or not path.is_file():
            return None
        import submitit

        number = path.read_text(encoding='utf-8').strip()
        if not number:
            return None
        known = submitit.SlurmJob(self.folder, number)
        is_over = known.done() or (known.state.upper() in DOUBTFUL and not is_queued(number))
        return None if is_over else SlurmAttempt(known)


class SlurmAttempt(Attempt):
    """A job in Slurm."""

    def __init__(self, job) -> None:
        self.job = job
        self.gone_since: float | None = None
        self.looked_into_queue = time.monotonic()  # a new job may take a moment to get there

    def poll(self) -> Ended | None:
        """See :class:`Attempt`."""
        if not (self.job.done() or self._has_left_the_queue()):
            return None
        if self.job.paths.result_pickle.exists():
            return self._result()
        # It was cancelled or lost, or its result is not visible on the shared disk yet.
        self.gone_since = self.gone_since or time.monotonic()
        if time.monotonic() - self.gone_since < RESULT_DELAY:
            return None
        return Ended(LOST, f'its job has ended ({self.job.state})')

    def _has_left_the_queue(self) -> bool:
        if self.gone_since is not None:
            return True
        is_time = time.monotonic() - self.looked_into_queue > DOUBT_DELAY
        if not is_time or self.job.state.upper() not in DOUBTFUL:
            return False
        self.looked_into_queue = time.monotonic()
        return not is_queued(self.job.job_id)

    def _result(self) -> Ended:
        try:
            return Ended(self.job.result())
        except Exception as error:  # submitit raises a job's own errors too
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return Ended(LOST, f'its job has ended ({self.job.state}): {lines[0]}')

    def stop(self, at_once: bool = False) -> None:
        """See :class:`Attempt`."""
        self.job.cancel(check=False)


def is_queued(number: str) -> bool:
    """Return True if Slurm's queue has a job, waiting or running, or does not answer."""
    command = ['squeue', '--noheader', '--jobs', number, '--format', '%T']
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return True
    is_known = 'Invalid job id' not in answer.stderr
    return is_known and bool(answer.returncode or answer.stdout.strip())


@contextmanager
def interruptible_children() -> Iterator[None]:
    """Have processes heed SIGINT that start in this context: it cancels jobs of the stand-in.

    A shell that starts the sweep in the background has it ignored, which children inherit.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _options(pairs: list[str]) -> dict[str, int | str]:
    wrong = [pair for pair in pairs if '=' not in pair]
    if wrong:
        raise UserError(f'--slurm-options: expected KEY=VALUE, found {wrong[0]!r}')
    options: dict[str, int | str] = {}
    for key, value in (pair.split('=', 1) for pair in pairs):
        name = key if key in SHARED or key.startswith('slurm_') else f'slurm_{key}'
        options[name] = int(value) if value.isdigit() else value
    return options
