"""Base class of executors, which run commands and report how they ended."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from memba_vision.errors import ExitStatus, UserError
from memba_vision.sweeps import supervise

if TYPE_CHECKING:  # the help of the sweep needs the options of executors, and no torch
    from memba_vision.sweeps.jobs import Job

LOST = -1  # status of a try whose end was not seen, as when its node went down
BAD_STARTS = 2  # tries that may end on a host before their runs began, until it is avoided
PASSED_ON = ('PYTHONPATH', 'TORCH_HOME')  # variables that other nodes must have as here


@dataclass(frozen=True)
class Ended:
    """End of a try.

    Attributes:
        status: the supervisor's exit status, or ``LOST``.
        message: the executor's explanation.
        is_cancelled: True if a user ended it on purpose: it is not started again.
    """

    status: int
    message: str = ''
    is_cancelled: bool = False


class Attempt(ABC):
    """One try of a run, handed to an executor."""

    @abstractmethod
    def poll(self) -> Ended | None:
        """Return its end; None while it waits or runs."""

    def place(self) -> str | None:
        """Return the host that it runs on, '' for this one; None while it waits in a queue."""
        return ''

    @abstractmethod
    def stop(self, at_once: bool = False) -> None:
        """Ask it to save and end, or with ``at_once`` to end without saving."""


class Executor(ABC):
    """Place where runs are executed.

    A new one takes a file in this folder with a class that derives from this one and is entered by
    :func:`memba_vision.sweeps.executors.register`.

    Args:
        args: the command line, with the options that :meth:`add_arguments` added.
        folder: the sweep's folder, for files of the executor.
    """

    help: ClassVar[str] = ''

    @abstractmethod
    def __init__(self, args: argparse.Namespace, folder: Path) -> None: ...

    @classmethod
    def add_arguments(cls, group: argparse._ArgumentGroup) -> None:
        """Add the options of this executor."""
        return None

    def warm_up(self) -> None:
        """Begin what a first run would wait for, while the runs are still being listed."""
        return None

    def has_room(self) -> bool:
        """Return True if :meth:`start` may be called, as is always so with a queue."""
        return True

    def room(self) -> int:
        """Return the number of runs that :meth:`start_all` may be given."""
        return int(self.has_room())

    @abstractmethod
    def start(self, job: Job) -> Attempt:
        """Start a run, or put it into a queue."""

    def start_all(self, jobs: Sequence[Job]) -> list[Attempt]:
        """Start several runs, or put them into a queue; see :meth:`start`.

        Returns:
            Their tries; fewer than ``jobs`` where a further one was refused.
        """
        attempts: list[Attempt] = []
        for job in jobs:
            try:
                attempts.append(self.start(job))
            except UserError:
                if not attempts:
                    raise
                break
        return attempts

    def adopt(self, jobs: Sequence[Job]) -> dict[str, Attempt]:
        """Return tries of an earlier sweep that still wait or run, by the names of their runs."""
        return {}

    def stop(self, attempts: Sequence[Attempt], at_once: bool = False) -> None:
        """Ask tries to end; see :meth:`Attempt.stop`."""
        for attempt in attempts:
            attempt.stop(at_once)

    def close(self) -> None:
        """Close connections."""
        return None


def import_for(executor: str, package: str) -> Any:
    """Import a package that an executor needs.

    Raises:
        UserError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(
            f"--executor {executor} needs {package} ({error}): pip install 'memba_vision[cluster]'"
        ) from error


def supervised(job: Job, environment: dict[str, str], processes: int = 1) -> list[str]:
    """Return the command line that runs a job under its supervisor, from any folder of any node.

    The arguments are those of :func:`supervisor_arguments`.
    """
    arguments = supervisor_arguments(job, environment, processes)
    return [sys.executable, '-I', supervise.__file__, *arguments]


def supervisor_arguments(job: Job, environment: dict[str, str], processes: int = 1) -> list[str]:
    """Return the arguments of the supervisor of a job.

    Args:
        job: the run.
        environment: variables to set for it.
        processes: number of processes that train it; see
            :meth:`memba_vision.sweeps.jobs.Job.command`.
    """
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    pairs = [f'{name}={value}' for name, value in {**passed_on, **environment}.items()]
    return [
        *('--folder', str(job.folder), '--directory', os.getcwd(), '--result', job.result_file),
        *(part for pair in pairs for part in ('--set', pair)),
        '--',
        *job.command(processes),
    ]


def tries_that_ended(folder: Path) -> int:
    """Return the number of tries of a run that have ended, as its folder tells."""
    noted = supervise.read_status(str(folder))
    return noted.get('tries', 0) - (noted.get('state') == 'running')


def caller(command: list[str]) -> Callable[..., int]:
    """Return a function that runs ``command`` and returns its status.

    The function is pickled by value, so that other nodes need not import this package to call it.
    It takes a file for what the command says of errors; without one, that goes where the caller's
    go. If the call is interrupted, the command is asked to end and waited for.
    """

    terminated, time_limit = int(ExitStatus.TERMINATED), int(signal.SIGUSR2)

    def call(errors: Any = None) -> int:
        import signal
        import subprocess
        import threading
        import time

        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # A shell that starts the sweep in the background has it ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)

        def end(*_):
            raise SystemExit(terminated)

        process = subprocess.Popen(command, stderr=errors)
        before = {}
        try:
            if threading.current_thread() is threading.main_thread():
                # Slurm ends a job by the first; submitit's handler only logs it. The other comes
                # before the time limit; submitit's handler ends the job before the command has.
                before = {signal.SIGTERM: signal.signal(signal.SIGTERM, end)}
                before[time_limit] = signal.signal(time_limit, lambda n, _: process.send_signal(n))
            # Not wait(), during which Python does not see the flag by which Ray interrupts.
            while process.poll() is None:
                time.sleep(0.2)
            return process.returncode
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            for number, handler in before.items():  # Ray uses a process for many calls
                signal.signal(number, handler)

    return call
