"""Server process that has imported what a training needs, and forks for each run of a sweep.

It is this file, started as a script by :class:`memba_vision.sweeps.forks.ForkServer`:

    python fork_server.py DESCRIPTOR SCRIPT IMPORTS [NAME=VALUE …]

For each line that comes through the socket it forks a supervisor (``supervise.py``), and that forks
the run. Parents, sessions, signals and exit statuses are those of processes that start anew: the
supervisor is a child of the sweep, the run one of the supervisor, and the server may end at any
time.

A fork copies one thread, and CUDA works in a fork only if it did not begin before. So the server
imports and does nothing else; it says so and ends if an import started a thread or CUDA.
"""

import atexit
import gc
import io
import json
import os
import runpy
import shutil
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn


class Child:
    """A child of this process that was not started by subprocess; it has methods of ``Popen``."""

    def __init__(self, pid: int, stdout: int | None = None) -> None:
        self.pid = pid
        self.stdout = None if stdout is None else os.fdopen(stdout, 'rb', buffering=0)
        self.returncode: int | None = None

    def poll(self, options: int = os.WNOHANG) -> int | None:
        """Return the exit status, less than 0 for a signal; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:  # SIGCHLD is ignored; subprocess takes it for 0 too
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int | None:
        """Return the exit status when the process has ended."""
        return self.poll(options=0)

    def send_signal(self, number: int) -> None:
        """Send a signal if the process has not been seen to end."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)


def main() -> None:
    """Import, and fork for each request until the sweep has ended."""
    descriptor, script, imports, *pairs = sys.argv[1:]
    os.environ.update(pair.split('=', 1) for pair in pairs)
    sweep = os.getppid()
    pose_as([sys.executable, script])
    with socket.socket(fileno=int(descriptor)) as connection:
        if problem := prepare(imports):
            sys.stderr.write(f'each run imports everything anew, which takes longer: {problem}\n')
            return
        connection.sendall(b'ready\n')
        arguments = _serve(connection, sweep)
    if arguments is not None:
        from memba_vision.sweeps import supervise  # not above: the script decides what it imports

        end_with(lambda: supervise.main(arguments, start_script))


def prepare(imports: str) -> str:
    """Run the code, and return the reason that this process is not to be forked, '' for none."""
    try:
        with _quietly():
            exec(imports, {})
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all memory
    return reason_not_to_fork()


def _serve(connection: socket.socket, sweep: int) -> list[str] | None:
    """Return None when the sweep has ended; in a fork, return the supervisor's arguments."""
    with connection.makefile('r', encoding='utf-8') as requests:
        for request in requests:
            if _fork_twice():
                # Linux has given the child away; without that, the sweep gets an empty answer.
                is_adopted = os.getppid() == sweep
                connection.sendall(f'{os.getpid() if is_adopted else ""}\n'.encode())
                return json.loads(request) if is_adopted else None
    return None


def _fork_twice() -> bool:
    """Fork a child whose parent is not this process, and return True in the child."""
    between = os.fork()
    if between:
        if os.waitpid(between, 0)[1]:
            raise OSError('no further process')
        return False
    between = os.getpid()
    try:
        is_parent = bool(os.fork())
    except OSError:
        os._exit(1)
    if is_parent:
        os._exit(0)
    while os.getppid() == between:
        time.sleep(0.001)
    os.setsid()
    return True


def reason_not_to_fork() -> str:
    """Return what a fork of this process would lack; '' if it is like a process that starts anew.

    OpenBLAS, which numpy brings along, starts threads at its import. It ends them before a fork,
    and starts them again at its next use.
    """
    with warnings.catch_warnings():
        # Python 3.12 warns of the threads that this looks for; the fork ends at once.
        warnings.simplefilter('ignore', DeprecationWarning)
        pid = os.fork()
    if not pid:
        torch = sys.modules.get('torch')
        os._exit(torch is not None and torch.cuda._is_in_bad_fork())
    if os.waitpid(pid, 0)[1]:
        return 'CUDA has begun'
    deadline = time.monotonic() + 1.0  # the system may list a thread that has just ended
    while names := _other_threads():
        if time.monotonic() > deadline:
            return f'an import has started threads ({", ".join(names)})'
        time.sleep(0.01)
    return ''


def _other_threads() -> list[str]:
    """Return the names that the system has for the threads beside the main one."""
    names = []
    for thread in Path('/proc/self/task').iterdir():
        if thread.name != str(os.getpid()):
            with suppress(OSError):  # it has just ended
                names.append((thread / 'comm').read_text().strip())
    return sorted(names)


def start_script(command: list[str], lock: int) -> Child:
    """Start a command, which is Python with a script, as ``supervise.start_process`` does.

    The fork has the lock, as it has all open files.
    """
    from memba_vision.sweeps import supervise

    pipe, other = os.pipe()
    pid = os.fork()
    if pid:
        os.close(other)
        return Child(pid, pipe)
    for number in supervise.END_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    supervise.end_with_parent()
    os.dup2(other, 1)
    os.dup2(other, 2)
    os.close(pipe)
    os.close(other)
    open_streams()
    pose_as(command)
    seed_by_chance()
    if kernel_threads := sys.modules.get('memba_vision.ops.numba_kernels.threads'):
        kernel_threads.trust_openmp()  # the server has seen that it had no threads
    end_with(lambda: runpy.run_path(command[1], run_name='__main__') and None)


def open_streams() -> None:
    """Make Python's streams anew: those of the server take it for granted that they can seek."""
    for name in ('stdout', 'stderr'):
        before = getattr(sys, name)
        writer = open(before.fileno(), 'wb', closefd=False)  # noqa: SIM115
        writer.raw.name = before.name
        kept = dict(encoding=before.encoding, errors=before.errors)
        kept |= dict(line_buffering=before.line_buffering, write_through=before.write_through)
        stream = io.TextIOWrapper(writer, **kept)
        stream.mode = 'w'
        setattr(sys, name, stream)
        setattr(sys, f'__{name}__', stream)


def seed_by_chance() -> None:
    """Seed what a fresh process seeds by chance; Python's own generator does it at a fork."""
    if 'numpy' in sys.modules:
        sys.modules['numpy'].random.seed()
    if 'torch' in sys.modules:
        sys.modules['torch'].default_generator.seed()


def pose_as(command: Sequence[str]) -> None:
    """Let this process look as if it had been started as ``command``: Python, script, arguments."""
    sys.orig_argv, sys.argv = list(command), list(command[1:])
    if not getattr(sys.flags, 'safe_path', False):  # of Python 3.11
        sys.path[0] = os.path.dirname(os.path.realpath(command[1]))


def end_with(call: Callable[[], int | None]) -> NoReturn:
    """Call a function, and end this process as Python ends one whose main function it is."""
    status = 1
    # A folder that an import of the server made, as matplotlib's without a home, is of all forks.
    atexit.unregister(shutil.rmtree)
    try:
        try:
            sys.exit(call())
        except SystemExit as end:
            status = _status(end.code)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    sys.stderr.write(f'{code}\n')
    return 1


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what imports say from the sweep's terminal; the sweep has imported the same."""
    terminal = os.dup(2)
    with open(os.devnull, 'wb') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


if __name__ == '__main__':
    main()
