"""Executor for Slurm, through submitit: every run is a job."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memba_vision.errors import ExitStatus, UserError
from memba_vision.files import write_atomically
from memba_vision.runs.tool_options import positive
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
from memba_vision.sweeps.slurm_queue import ENDED, UNKNOWN, JobState, SlurmQueue, cancel
from memba_vision.sweeps.supervise import last_words, read_status

if TYPE_CHECKING:
    from memba_vision.sweeps.jobs import Job

JOB_FILE = 'slurm_job'  # file in a run's folder with the id of its job
#: Options that submitit has for all clusters; the others are Slurm's own.
SHARED = ('timeout_min', 'mem_gb', 'nodes', 'tasks_per_node', 'cpus_per_task', 'gpus_per_node')
#: Options that submitit reckons with; others may have zeros in front, as an account.
NUMBERS = (*SHARED, 'array_parallelism')
DAY = 24 * 60  # minutes
ARRAY = 20  # runs from which on they are submitted as one job array
LARGEST_ARRAY = 500  # Slurm's own limit is 1,000 as a rule
RESULT_DELAY = 5.0  # seconds that a file may take from one node to another


@register('slurm')
class SlurmExecutor(Executor):
    """See :class:`memba_vision.sweeps.executors.base.Executor`.

    Jobs outlive a sweep that is killed; the same command finds them again.

    Raises:
        UserError: submitit is not installed, Slurm is not there, or it has no such option.
    """

    help = 'Slurm'

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.submitit = import_for('slurm', 'submitit')
        self.gpus = args.gpus_per_run if args.gpus_per_run is not None else 1
        self.cpus = args.cpus_per_run
        self.cluster = args.slurm_cluster
        self.folder = folder / 'slurm'
        self.queue = SlurmQueue()
        self.options = _options(args.slurm_options)
        self.max_queued = sys.maxsize if args.max_queued is None else args.max_queued
        self.open: list[SlurmAttempt] = []
        self.never_began: Counter[str] = Counter()  # jobs that ended before their run, by host
        defaults = {'timeout_min': DAY, 'cpus_per_task': self.cpus, 'gpus_per_node': self.gpus}
        try:
            self.executor = self.submitit.AutoExecutor(self.folder, cluster=self.cluster)
            self.executor.update_parameters(**{**defaults, **self.options})
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
            '--max-queued',
            type=positive,
            help='jobs that may wait or run at a time (default: no limit)',
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
        (attempt,) = self._submit([job], job.name)
        return attempt

    def start_all(self, jobs: Sequence[Job]) -> list[Attempt]:
        """Submit runs, from ``ARRAY`` of them on as one job array, which has a name of its own.

        Raises:
            UserError: Slurm refuses them.
        """
        if len(jobs) < ARRAY:
            return super().start_all(jobs)
        return self._submit(jobs, self.folder.parent.name)

    def room(self) -> int:
        """Return the number of runs that may be submitted, as ``--max-queued`` has it."""
        self.open = [attempt for attempt in self.open if not attempt.has_ended]
        return max(0, min(LARGEST_ARRAY, self.max_queued - len(self.open)))

    def _submit(self, jobs: Sequence[Job], name: str) -> list[Attempt]:
        environment = {'OMP_NUM_THREADS': str(self.cpus)}
        commands = [supervised(job, environment, max(1, self.gpus)) for job in jobs]
        self.executor.update_parameters(name=name, **self._avoided())
        if len(jobs) > 1 and 'slurm_array_parallelism' not in self.options:
            self.executor.update_parameters(slurm_array_parallelism=len(jobs))
        try:
            with interruptible_children(), self.executor.batch():
                submitted = [self.executor.submit(caller(command)) for command in commands]
        except (RuntimeError, OSError) as error:
            reason = ' '.join(str(error).split())
            raise UserError(f'Slurm does not take {name}: {reason}') from error
        if self.cluster != 'slurm':
            return [StandInAttempt(one) for one in submitted]
        for job, one in zip(jobs, submitted, strict=True):
            write_atomically(job.folder / JOB_FILE, one.job_id.encode())
        return [self._attempt(job, one) for job, one in zip(jobs, submitted, strict=True)]

    def _avoided(self) -> dict[str, str]:
        """Return the option that keeps jobs from hosts on which several never began."""
        bad = sorted(host for host, count in self.never_began.items() if count >= BAD_STARTS)
        given = [str(self.options['slurm_exclude'])] if 'slurm_exclude' in self.options else []
        return {'slurm_exclude': ','.join([*given, *bad])} if bad else {}

    def adopt(self, jobs: Sequence[Job]) -> dict[str, Attempt]:
        """Return the runs' jobs of an earlier sweep that Slurm still has."""
        paths = {job.name: job.folder / JOB_FILE for job in jobs if self.cluster == 'slurm'}
        noted = {name: _read_number(path) for name, path in paths.items()}
        self.queue.follow(filter(None, noted.values()))
        self.queue.ask()
        return {
            job.name: self._attempt(job, self.submitit.SlurmJob(self.folder, noted[job.name]))
            for job in jobs
            if noted.get(job.name) and not self.queue.state(noted[job.name]).has_ended
        }

    def _attempt(self, job: Job, submitted: Any) -> Attempt:
        attempt = SlurmAttempt(job, submitted, self.queue, self.never_began)
        self.open.append(attempt)
        return attempt

    def stop(self, attempts: Sequence[Attempt], at_once: bool = False) -> None:
        """See :class:`Executor`: one call for all."""
        jobs = [attempt for attempt in attempts if isinstance(attempt, SlurmAttempt)]
        for job in jobs:
            job.is_stopped = True
        cancel([job.number for job in jobs])
        super().stop([attempt for attempt in attempts if attempt not in jobs], at_once)


class StandInAttempt(Attempt):
    """A process of submitit's stand-in for Slurm."""

    def __init__(self, submitted: Any) -> None:
        self.submitted = submitted

    def poll(self) -> Ended | None:
        """See :class:`Attempt`."""
        if not self.submitted.done():
            return None
        ended = f'its job has ended ({self.submitted.state})'
        if not self.submitted.paths.result_pickle.exists():
            return Ended(LOST, ended)
        try:
            return Ended(self.submitted.result())
        except Exception as error:  # submitit raises a job's own errors too
            lines = str(error).strip().splitlines() or [type(error).__name__]
            return Ended(LOST, f'{ended}: {lines[0]}')

    def stop(self, at_once: bool = False) -> None:
        """See :class:`Attempt`."""
        self.submitted.cancel(check=False)


class SlurmAttempt(Attempt):
    """A job in Slurm.

    Args:
        job: the run.
        submitted: submitit's job.
        queue: the states of jobs.
        never_began: counts the jobs that ended before their runs began, by host.
    """

    def __init__(
        self, job: Job, submitted: Any, queue: SlurmQueue, never_began: Counter[str]
    ) -> None:
        self.job, self.submitted, self.queue = job, submitted, queue
        self.never_began = never_began
        self.has_ended = False
        self.tries_before = tries_that_ended(job.folder)
        self.gone_since: float | None = None
        self.is_stopped = False  # by this sweep
        queue.follow([submitted.job_id])

    @property
    def number(self) -> str:
        """The job's number, '12' or '12_3' for one of an array."""
        return self.submitted.job_id

    def poll(self) -> Ended | None:
        """See :class:`Attempt`.

        The folder tells the end at once. The reason for an early one is Slurm's to tell.
        """
        ended = self._poll()
        self.has_ended = ended is not None
        return ended

    def place(self) -> str | None:
        """See :class:`Attempt`."""
        state = self.queue.state(self.number)
        return None if state.name in ('PENDING', UNKNOWN) or state.has_ended else state.host

    def _poll(self) -> Ended | None:
        state = self.queue.state(self.number)
        noted = None if state.name == 'PENDING' else self._noted_end()
        if noted in (ExitStatus.FINISHED, ExitStatus.FAILED, ExitStatus.DISK_FULL):
            return Ended(noted)
        if noted is not None:
            state = self.queue.state(self.number, hurried=True)
        return self._end(state) if state.has_ended else None

    def _noted_end(self) -> int | None:
        """Return the status that the supervisor of this try noted at its end."""
        noted = read_status(str(self.job.folder))
        is_of_this_try = noted.get('tries', 0) > self.tries_before
        return noted.get('exit_status') if is_of_this_try else None

    def _end(self, state: JobState) -> Ended | None:
        if state.name == 'CANCELLED' and not self.is_stopped:
            return Ended(LOST, 'was cancelled (scancel); the same sweep begun anew goes on', True)
        if self._noted_end() is None and not self.submitted.paths.result_pickle.exists():
            # It was lost, or its result is not visible on the shared disk yet.
            self.gone_since = self.gone_since or time.monotonic()
            if time.monotonic() - self.gone_since < RESULT_DELAY:
                return None
            return Ended(LOST, self._why_lost(state))
        message = ENDED.get(state.name, '') if state.name != 'FAILED' else ''
        return Ended(self._status(), message)

    def _why_lost(self, state: JobState) -> str:
        """Describe the end of a job whose supervisor noted none, with the last that it said."""
        reason = f'{ENDED.get(state.name) or "its job has ended"} ({state.name})'
        began = read_status(str(self.job.folder)).get('tries', 0) > self.tries_before
        if began or not state.host or state.name not in ('FAILED', 'COMPLETED'):
            return reason
        self.never_began[state.host] += 1
        path = self.submitted.paths.stderr
        said = last_words(path.read_text(errors='replace')[-4000:]) if path.is_file() else ''
        return f'{reason} on {state.host} before the run began{f": {said}" if said else ""}'

    def _status(self) -> int:
        noted = self._noted_end()
        if noted is not None:
            return noted
        try:  # a status that could not be noted, as that others are at work in the folder
            return self.submitted.result()
        except Exception:  # submitit raises a job's own errors too
            return LOST

    def stop(self, at_once: bool = False) -> None:
        """See :class:`Attempt`."""
        self.is_stopped = True
        cancel([self.number])


def _read_number(path: Path) -> str:
    """Return the number of a run's job; '' where none is noted."""
    try:
        return path.read_text(encoding='utf-8').strip()
    except OSError:
        return ''


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
        is_number = name.removeprefix('slurm_') in NUMBERS and value.isdigit()
        options[name] = int(value) if is_number else value
    return options
