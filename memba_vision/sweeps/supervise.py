"""Run one command of a sweep under a lock on its folder, with a log and a status file.

This script needs nothing but Python and filelock, so that it starts at once and runs on any node:

    python -I supervise.py --folder FOLDER --directory WHERE [--result FILE] [--set NAME=VALUE …] \
        -- COMMAND …

It and the command hold a lock of the system together. The system lifts it when both are gone,
whatever ended them. Where such locks do not reach other machines, a lease beside it does, which the
script renews. Only a process that holds both writes ``status.json``.
"""

import argparse
import contextlib
import ctypes
import errno
import fcntl
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any


def _read_module(name: str) -> ModuleType:
    """Read a module of the package from its file: to import the package would take seconds."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    spec = importlib.util.spec_from_file_location(name, os.path.join(package, f'{name}.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


errors, leases = _read_module('errors'), _read_module('leases')
ExitStatus, END_SIGNALS = errors.ExitStatus, errors.END_SIGNALS

LOCK_FILE, LOG_FILE, STATUS_FILE, RESULT_FILE = '.lock', 'log.txt', 'status.json', 'result.json'
LEASE_FILE = '.lease'
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # of file systems that know none
PR_SET_PDEATHSIG = 1  # of Linux's prctl
PATIENCE = 2.0  # seconds to try for the lock: a sweep that looks whether it is held takes it too
TAIL = 1 << 14  # bytes of the log's end that are kept in memory


def start_process(command: list[str], lock: int) -> subprocess.Popen:
    """Start a command that holds the lock too; its ``stdout`` is the pipe of all that it says."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[lock],
        preexec_fn=end_with_parent,
    )


def main(arguments: Sequence[str] | None = None, start: Callable[..., Any] = start_process) -> int:
    """Do as the command line says, and return the status to exit with.

    Args:
        arguments: the command line, by default this process's own.
        start: starts the command; see :func:`start_process`.
    """
    args = parse_arguments(arguments)
    end_with_parent()
    os.chdir(args.directory)
    os.environ.update(pair.split('=', 1) for pair in args.set)
    os.makedirs(args.folder, exist_ok=True)
    try:
        with locked(args.folder) as lock:
            if lock is None:
                return ExitStatus.BUSY
            command = partial(start, args.command, lock.descriptor)
            return Supervisor(args.folder, command, lock, args.result).run()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        return ExitStatus.DISK_FULL


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--folder', required=True)
    parser.add_argument('--directory', required=True, help='where the command runs')
    parser.add_argument('--result', default=RESULT_FILE, help='the file that it has to leave')
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE')
    parser.add_argument('command', nargs='+')
    return parser.parse_args(arguments)


def end_with_parent() -> None:
    """Ask Linux to send this process SIGTERM when its parent dies in any way."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(frozen=True)
class Lock:
    """Lock of a run's folder.

    Attributes:
        descriptor: the file that the system has locked, for processes to inherit.
        lease: the lock that other machines heed.
    """

    descriptor: int
    lease: Any

    @property
    def is_lost(self) -> bool:
        """Return True if a process on another machine may have the folder by now."""
        return self.lease.compromise is not None


@contextlib.contextmanager
def locked(folder: str, patience: float = PATIENCE) -> Iterator[Lock | None]:
    """Hold the lock of a run's folder. If it is lost, this process gets SIGTERM.

    Yields:
        The lock; None if another process holds it.
    """
    descriptor = os.open(os.path.join(folder, LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock(descriptor, time.monotonic() + patience):
            yield None
            return
        path = os.path.join(folder, LEASE_FILE)
        lease = leases.lease(path, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        held = _take(lease, path)
        if held is None:
            yield None
            return
        with held:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, leases.machine().encode(), 0)
            yield Lock(descriptor, lease)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return True  # the lease decides


def _take(lease: Any, path: str) -> Any | None:
    """Take a lease; None if its holder is seen to live. One of a machine that is gone takes time.

    With the system's lock in hand, whoever held the lease on this machine is gone.
    """
    first = _touched(path)

    def is_alive() -> bool:
        return _touched(path) not in (first, None)

    try:
        return lease.acquire(timeout=leases.LEASE + PATIENCE, cancel_check=is_alive)
    except TimeoutError:
        return None


def _touched(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


class Supervisor:
    """One try of a run.

    Args:
        folder: the run's folder, whose lock is held.
        start: starts the command; see :func:`start_process`.
        lock: the lock.
        result_file: the file in the folder that a command leaves that came to its end.
    """

    def __init__(self, folder: str, start: Callable[[], Any], lock: Lock, result_file: str) -> None:
        self.folder, self.start, self.lock, self.result_file = folder, start, lock, result_file
        self.process: Any = None
        self.asked_to_stop = 0  # the number of the signal
        self.status = read_status(folder)
        self.seconds_before = self.status.get('seconds', 0.0)

    def run(self) -> int:
        """Run the command unless it has finished before, and return the status to exit with."""
        if self.status.get('state') == 'finished' and self._has_result():
            return ExitStatus.FINISHED
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep decides what Ctrl-C means
        for number in END_SIGNALS:
            signal.signal(number, self._stop)
        began = time.time()
        self.status.update(
            state='running',
            message='',
            exit_status=None,
            tries=self.status.get('tries', 0) + 1,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=began,
        )
        write_status(self.folder, self.status)
        code, tail = self._run()
        self.status['seconds'] = round(self.seconds_before + time.time() - began, 1)
        return self._note(*self._judge(code, tail))

    def _stop(self, number: int, *_: object) -> None:
        self.asked_to_stop = self.asked_to_stop or number
        if self.process is not None:
            self.process.send_signal(number)  # the command saves what it has

    def _run(self) -> tuple[int, str]:
        """Run the command, and return its exit status and the end of its output."""
        self.process = self.start()
        if self.asked_to_stop:
            self.process.send_signal(self.asked_to_stop)
        with open(os.path.join(self.folder, LOG_FILE), 'ab', buffering=0) as log:
            stamp = time.strftime('%Y-%m-%d %H:%M:%S')
            log.write(f'--- try {self.status["tries"]}, {stamp}, {socket.gethostname()}\n'.encode())
            copier = Copier(self.process.stdout.fileno(), log.write)
            copier.start()
            code = self.process.wait()
            # A process that the command left behind may keep the pipe open.
            copier.join(timeout=PATIENCE)
        return code, copier.tail.decode(errors='replace')

    def _judge(self, code: int, tail: str) -> tuple[int, str]:
        """Return the status that stands for the end of a try, and a line that describes it."""
        if code == 0 and self._has_result():
            return ExitStatus.FINISHED, ''
        if self.asked_to_stop or code == ExitStatus.TERMINATED:
            number = self.asked_to_stop or signal.SIGTERM
            return ExitStatus.TERMINATED, f'was stopped {END_SIGNALS[number]}'
        if code < 0:
            name = signal.Signals(-code).name
            hint = ': did the machine run out of memory?' if name == 'SIGKILL' else ''
            return ExitStatus.TERMINATED, f'was killed ({name}{hint})'
        if code == 0:
            return ExitStatus.FAILED, f'ended well, but wrote no {self.result_file}'
        message = last_words(tail) or f'ended with status {code} and said nothing'
        is_full = code == ExitStatus.DISK_FULL
        return ExitStatus.DISK_FULL if is_full else ExitStatus.FAILED, message

    def _has_result(self) -> bool:
        return os.path.exists(os.path.join(self.folder, self.result_file))

    def _note(self, status: int, message: str) -> int:
        if self.lock.is_lost:  # the status is that of another try
            return ExitStatus.BUSY
        states = {ExitStatus.FINISHED: 'finished', ExitStatus.FAILED: 'failed'}
        state = states.get(status, 'stopped')
        self.status.update(state=state, message=message, exit_status=status, ended=time.time())
        write_status(self.folder, self.status)
        return status


class Copier(threading.Thread):
    """Copy of a pipe into the log; its end is kept in memory, in case the log cannot grow."""

    def __init__(self, pipe: int, write: Callable[[bytes], object]) -> None:
        super().__init__(daemon=True)
        self.pipe, self.write, self.tail = pipe, write, b''

    def run(self) -> None:
        """Copy until the pipe ends."""
        while piece := os.read(self.pipe, 1 << 16):
            self.tail = (self.tail + piece)[-TAIL:]
            with contextlib.suppress(OSError, ValueError):
                self.write(piece)


def last_words(log: str) -> str:
    """Return the line for the user to read: the last error of a tool, or else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip(' =-')]
    errors = [line.removeprefix('error: ') for line in lines if line.startswith('error: ')]
    return (errors or lines or [''])[-1]


def read_status(folder: str) -> dict:
    """Read ``status.json``; return an empty dict where there is none that can be read."""
    try:
        with open(os.path.join(folder, STATUS_FILE), encoding='utf-8') as file:
            status = json.load(file)
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def write_status(folder: str, status: dict) -> None:
    """Replace ``status.json`` in one step."""
    path = os.path.join(folder, STATUS_FILE)
    process = f'{leases.machine_in_names()}@{os.getpid()}'
    temporary = os.path.join(folder, f'.{STATUS_FILE}.{process}.0')
    with open(temporary, 'w', encoding='utf-8') as file:
        json.dump(status, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


if __name__ == '__main__':
    sys.exit(main())
