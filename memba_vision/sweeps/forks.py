"""The sweep's end of the server that forks runs; see ``fork_server.py``."""

import ctypes
import json
import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from memba_vision.sweeps import fork_server

#: Code that imports what a training does. Asked for GPUs, torch would start a thread of the driver;
#: the sweep has asked it before.
TRAINING = """
import os, torch
ask_driver = torch.cuda.is_available
torch.cuda.is_available = lambda: bool(os.environ.get('CUDA_VISIBLE_DEVICES'))
from memba_vision.command_line import prepare_process
prepare_process()
import memba_vision.runs.training
import mmpretrain.models, mmpretrain.datasets, mmpretrain.engine, mmpretrain.evaluation
import mmpretrain.visualization, matplotlib.backends.backend_agg, matplotlib.figure
import filelock
from memba_vision.ops.numba_kernels.cache import load_kernels
load_kernels()
torch.cuda.is_available = ask_driver
"""
PR_SET_CHILD_SUBREAPER = 36  # of Linux's prctl
PATIENCE = 30.0  # seconds for a fork, which takes a few milliseconds


class ForkServer:
    """Connection to the server, which it starts.

    Args:
        script: the script of all runs.
        imports: code that imports what the script needs.
        environment: variables that are read at import, as every run gets them.
    """

    def __init__(self, script: str, imports: str, environment: Mapping[str, str]) -> None:
        self.connection, other = socket.socketpair()
        self.connection.settimeout(PATIENCE)
        self.answers = self.connection.makefile('r', encoding='utf-8')
        self.is_ready = False
        pairs = [f'{name}={value}' for name, value in environment.items()]
        command = [sys.executable, fork_server.__file__, str(other.fileno())]
        with other:
            self.process: subprocess.Popen | None = subprocess.Popen(
                [*command, script, imports, *pairs],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,
            )

    def is_starting(self) -> bool:
        """Return True until the server has imported everything, or ended."""
        if self.process is None or self.is_ready:
            return False
        if not select.select([self.connection], [], [], 0)[0]:
            return True
        self.is_ready = True
        if not self._read():
            self.close()
        return False

    def fork(self, arguments: Sequence[str]) -> fork_server.Child | None:
        """Start a supervisor.

        Args:
            arguments: its command line, without Python and its file.

        Returns:
            The process; None if the server has ended.
        """
        if self.process is None:
            return None
        with _adopting_orphans():
            try:
                self.connection.sendall(f'{json.dumps(list(arguments))}\n'.encode())
                pid = self._read()
            except OSError:
                pid = ''
        if pid:
            return fork_server.Child(int(pid))
        self.close()
        return None

    def close(self) -> None:
        """End the server. Its forks go on."""
        if self.process is not None:
            self.answers.close()
            self.connection.close()
            self.process.kill()  # it may be importing, and has nothing to lose
            self.process.wait()
            self.process = None

    def _read(self) -> str:
        with suppress(OSError):
            return self.answers.readline().strip()
        return ''


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Let this process be the parent of those below it whose own parent ends."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)


def can_fork() -> bool:
    """Return True where a process can hand its children to another: on Linux."""
    return sys.platform == 'linux'
