"""What an executor is: something that runs commands elsewhere, and tells how they ended."""

from __future__ import annotations

import argparse
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from memba_vision.errors import ExitStatus
from memba_vision.sweeps import supervise

if TYPE_CHECKING:  # the help of the sweep needs the options of executors, and no torch
    from memba_vision.sweeps.jobs import Job

LOST = -1  # the status of a try whose end nobody saw: its node went down, say
PASSED_ON = ('PYTHONPATH', 'TORCH_HOME')  # what a run on another node must have as here


@dataclass(frozen=True)
class Ended:
    """The end of a try.

    Attributes:
        status: the supervisor's exit status, or ``LOST``.
        message: what the executor says on it.
    """

    status: int
    message: str = ''


class Attempt(ABC):
    """One try of a run, handed to an executor."""

    @abstractmethod
    def poll(self) -> Ended | None:
        """How it ended; None while it waits or runs."""

    @abstractmethod
    def stop(self, at_once: bool = False) -> None:
        """Ask it to save and to end; ``at_once``: not to save."""


class Executor(ABC):
    """Runs commands somewhere.

    A file in this folder with a class that derives from it and is entered by
    :func:`memba_vision.sweeps.executors.register` is all that a new one takes.

    Args:
        args: the command line, with the options that :meth:`add_arguments` added.
        folder: the sweep's folder, for what the executor has to keep.
    """

    help: ClassVar[str] = ''

    @abstractmethod
    def __init__(self, args: argparse.Namespace, folder: Path) -> None: ...

    @classmethod
    def add_arguments(cls, group: argparse._ArgumentGroup) -> None:
        """Add the options that this executor alone has."""
        return None

    @abstractmethod
    def has_room(self) -> bool:
        """Whether :meth:`start` may be called."""

    @abstractmethod
    def start(self, job: Job) -> Attempt:
        """Start a run, or hand it to a queue."""

    def adopt(self, job: Job) -> Attempt | None:
        """A try that an earlier sweep handed over and that still waits or runs, if any."""
        return None

    def close(self) -> None:
        """Leave what was opened."""
        return None


def supervised(job: Job, environment: dict[str, str], processes: int = 1) -> list[str]:
    """The command line that runs a job under its supervisor, from any folder of any node.

    Args:
        job: the run.
        environment: variables to set for it.
        processes: how many processes train it; see :meth:`memba_vision.sweeps.jobs.Job.command`.
    """
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    pairs = [f'{name}={value}' for name, value in {**passed_on, **environment}.items()]
    return [
        *(sys.executable, '-I', supervise.__file__),
        *('--folder', str(job.folder), '--directory', os.getcwd()),
        *(part for pair in pairs for part in ('--set', pair)),
        '--',
        *job.command(processes),
    ]


def caller(command: list[str]) -> Callable[[], int]:
    """A function without arguments that runs ``command`` and returns its status.

    It is sent to other nodes as it is: they need not import this package to call it. Where the
    call is interrupted, the command is asked to end, and has the time that takes.
    """

    terminated = int(ExitStatus.TERMINATED)

    def call() -> int:
        import signal
        import subprocess
        import threading
        import time

        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # Inherited from a shell that started the sweep in the background.
            signal.signal(signal.SIGINT, signal.default_int_handler)

        def end(*_):
            raise SystemExit(terminated)

        process = subprocess.Popen(command)
        before = None
        try:
            if threading.current_thread() is threading.main_thread():
                # Slurm ends a job by this signal, which submitit would only write into its log.
                before = signal.signal(signal.SIGTERM, end)
            # Not wait(): some interrupt by a flag that Python sees between two instructions alone.
            while process.poll() is None:
                time.sleep(0.2)
            return process.returncode
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            if before is not None:  # Ray gives a process to one call after the other
                signal.signal(signal.SIGTERM, before)

    return call
