"""Executor for this machine: a process for each run, on its share of GPUs or cores."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from memba_vision.errors import UserError
from memba_vision.runs.tool_options import positive
from memba_vision.sweeps.devices import (
    Slot,
    cpu_slots,
    gpu_slots,
    threads_of,
    usable_cores,
    visible_gpus,
)
from memba_vision.sweeps.executors import register
from memba_vision.sweeps.executors.base import (
    Attempt,
    Ended,
    Executor,
    supervised,
    supervisor_arguments,
)
from memba_vision.sweeps.fork_server import Child
from memba_vision.sweeps.forks import TRAINING, ForkServer, can_fork

if TYPE_CHECKING:
    from memba_vision.sweeps.jobs import Job


@register('local')
class LocalExecutor(Executor):
    """See :class:`memba_vision.sweeps.executors.base.Executor`."""

    help = 'this machine'
    imports = TRAINING

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.free = local_slots(args)
        self.processes = max(1, args.gpus_per_run or 1)
        self.forks = are_forked(args)
        self.environment = self.free[0].environment()
        self.server: ForkServer | None = None

    @classmethod
    def add_arguments(cls, group: argparse._ArgumentGroup) -> None:
        """Add the options for GPUs and the number of runs at a time."""
        group.add_argument(
            '--gpus',
            metavar='0,1,…',
            help='GPUs to use, by their names in CUDA_VISIBLE_DEVICES where that is set '
            '(default: all that torch sees)',
        )
        group.add_argument('--jobs-per-gpu', type=positive, default=1, help='runs that share a GPU')
        group.add_argument(
            '--jobs',
            type=positive,
            help='runs at a time on the CPU (default: one for every two cores)',
        )
        group.add_argument(
            '--fresh-processes',
            action='store_true',
            help='let each run import everything anew, and fork none from a process that has',
        )

    def warm_up(self) -> None:
        """Start the process that runs are forked from, which imports for seconds."""
        if self.forks and self.server is None:
            from memba_vision.sweeps.jobs import TRAIN  # not above: help imports no torch

            self.server = ForkServer(str(TRAIN), self.imports, self.environment)

    def has_room(self) -> bool:
        """Return True if a slot is free, and the process that runs are forked from is ready."""
        self.warm_up()
        return bool(self.free) and not (self.server and self.server.is_starting())

    def start(self, job: Job) -> Attempt:
        """Start a process in a session of its own, out of reach of Ctrl-C in the terminal."""
        slot = self.free.pop(0)
        environment = slot.environment()
        process = self.server and self.server.fork(supervisor_arguments(job, environment))
        if process is None:
            process = subprocess.Popen(
                supervised(job, environment, self.processes),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        return LocalAttempt(process, slot, self.free)

    def close(self) -> None:
        """End the process that runs are forked from. Those go on."""
        if self.server is not None:
            self.server.close()


class LocalAttempt(Attempt):
    """A process, whose slot is free again when it has ended."""

    def __init__(self, process: subprocess.Popen | Child, slot: Slot, free: list[Slot]) -> None:
        self.process, self.free = process, free
        self.slot: Slot | None = slot

    def poll(self) -> Ended | None:
        """See :class:`Attempt`."""
        status = self.process.poll()
        if status is None:
            return None
        if self.slot is not None:
            self.free.append(self.slot)
            self.slot = None
        return Ended(status)

    def stop(self, at_once: bool = False) -> None:
        """See :class:`Attempt`."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if at_once else signal.SIGTERM)


def are_forked(args: argparse.Namespace) -> bool:
    """Return True if runs are forked from a process that has imported what they need."""
    # Several processes of a run are started by torch's launcher.
    return can_fork() and not args.fresh_processes and (args.gpus_per_run or 1) == 1


def local_slots(args: argparse.Namespace) -> list[Slot]:
    """Divide this machine as the command line says.

    Raises:
        UserError: the options contradict each other or the machine.
    """
    gpus_per_run = 1 if args.gpus_per_run is None else args.gpus_per_run
    gpus = visible_gpus()
    if not gpus and (args.gpus or gpus_per_run > 1):
        raise UserError(
            '--gpus and --gpus-per-run are for GPUs, and torch sees none: leave them out'
        )
    if not gpus or gpus_per_run < 1:
        return cpu_slots(args.jobs, usable_cores())
    if args.jobs:
        raise UserError('--jobs is for the CPU: use --jobs-per-gpu, or --gpus-per-run 0')
    if args.gpus:
        gpus = _chosen(args.gpus, gpus)
    return gpu_slots(gpus, args.jobs_per_gpu, gpus_per_run, usable_cores())


def _chosen(text: str, visible: Sequence[str]) -> list[str]:
    """Return the GPUs that ``--gpus`` names, which are among those that torch may use."""
    names = [name.strip() for name in text.split(',')]
    if len(set(names)) < len(names):
        raise UserError(f'--gpus {text} names a GPU twice: use --jobs-per-gpu for runs that share')
    if unknown := [name for name in names if name not in visible]:
        raise UserError(
            f'--gpus {text}: no GPU {", ".join(unknown)} here; torch may use {", ".join(visible)}'
            f'{" (CUDA_VISIBLE_DEVICES)" if os.environ.get("CUDA_VISIBLE_DEVICES") else ""}'
        )
    return names


def one_slot(args: argparse.Namespace) -> Slot:
    """Return the share of a run that has all cores here to itself, and the GPUs of one run."""
    return replace(local_slots(args)[0], threads=threads_of(usable_cores(), 1))
