"""Leases: locks that hold between machines that share a disk.

Whether a lock of the operating system (``flock``) reaches other machines is the file system's and
its mount's affair. A lease is a file that is created if there is none, in one step, which NFS,
Lustre and BeeGFS all do. It names host and process, and its holder touches it every ``BEAT``
seconds. It goes with its holder's process on the same machine, and elsewhere when nobody has
touched it for ``LEASE`` seconds by the clock of whoever waits: clocks need not agree.

The file imports nothing of the package: the supervisor of a run in a sweep reads it alone.
"""

import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

LEASE = 60.0  # seconds without a sign of life, after which a holder elsewhere counts as gone
BEAT = 15.0  # seconds between two signs of life
POLL = 0.2  # seconds between two tries to take a lease
AFTER = 1.0  # seconds that the library has to take a lease over in its own way
LONG_AGO = 3600.0  # seconds; the clocks of two machines do not differ by as much
#: Mounts of object stores, by their type or source: neither creation nor renaming is one step
#: there for other machines.
OBJECT_STORES = re.compile(
    r's3fs|gcsfuse|goofys|geesefs|rclone|mount(point)?-s3|s3ql|blobfuse2?|ossfs2?|cosfs|obsfs'
)
_seen: dict[str, tuple[tuple[int, int], float]] = {}


def lease(path: str | os.PathLike, on_loss: Callable[[Any], None] | None = None) -> Any:
    """Return a lease, not yet taken; ``with`` and ``acquire()`` wait until it is free.

    Args:
        path: its file, in a folder that exists. All who want one thing name the same.
        on_loss: called in a thread if the lease is lost while it is held, as after a long
            standstill of this process. ``lease.compromise`` is then not None.

    Returns:
        A ``filelock.SoftFileLease`` that may be taken over on every file system.
    """
    return _lease_class()(
        path,
        lease_duration=LEASE,
        heartbeat_interval=BEAT,
        on_compromise=on_loss,
        thread_local=False,
        poll_interval=POLL,
    )


@cache
def _lease_class() -> type:
    from filelock import SoftFileLease

    class Lease(SoftFileLease):
        """Lease whose file is moved away when nobody has touched it for long enough.

        filelock lets two files exchange their names for that. NFS, Lustre, BeeGFS and others cannot
        do so, and there the lease of a machine that went down would be held for ever.
        """

        def acquire(self, *args: Any, **options: Any) -> Any:
            """Take the lease; see ``filelock.SoftFileLease.acquire``."""
            check = options.pop('cancel_check', None)
            seen = _mark(self.lock_file), time.monotonic()

            def look() -> bool:
                nonlocal seen
                if (mark := _mark(self.lock_file)) != seen[0]:
                    seen = mark, time.monotonic()
                elif mark and time.monotonic() - seen[1] > LEASE + AFTER:
                    _move_away(self.lock_file, mark)
                return check is not None and check()

            return super().acquire(*args, cancel_check=look, **options)

    return Lease


def _mark(path: str) -> tuple[int, int] | None:
    """Return what changes when a lease is touched or another takes its place; None without one."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _move_away(path: str, mark: tuple[int, int]) -> None:
    """Remove the file of a lease, unless another has taken its place since it was looked at."""
    aside = f'{path}.{secrets.token_hex(8)}'
    with suppress(OSError):
        os.rename(path, aside)
        if _mark(aside) != mark:  # somebody was quicker, and holds what was moved
            with suppress(FileExistsError):  # its holder then finds that it is lost
                os.link(aside, path)
        os.unlink(aside)


def seems_held(path: str | os.PathLike) -> bool:
    """Return True if a lease is there and was touched of late, as far as this process has seen.

    The first look goes by the clock, and only an hour is long ago.
    """
    name, now = os.fspath(path), time.monotonic()
    mark = _mark(name)
    if mark is None:
        _seen.pop(name, None)
        return False
    if name not in _seen or _seen[name][0] != mark:
        _seen[name] = mark, now
    return now - _seen[name][1] < LEASE and time.time() - mark[1] / 1e9 < LONG_AGO


def machine() -> str:
    """Return a name for the machine and the namespace in which process ids are those seen here."""
    try:
        booted = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return f'{socket.gethostname()} {booted} {os.readlink("/proc/self/ns/pid")}'
    except OSError:
        return socket.gethostname()


def machine_in_names() -> str:
    """Return a name like :func:`machine` for names of files: without dots, ``@`` and spaces."""
    host = re.sub(r'[^\w-]', '-', socket.gethostname())
    return f'{host}-{hashlib.sha256(machine().encode()).hexdigest()[:8]}'


def object_store(folder: str | os.PathLike) -> str:
    """Return the mount that ``folder`` is on if it is that of an object store; '' otherwise."""
    try:
        lines = Path('/proc/self/mountinfo').read_text(errors='replace').splitlines()
    except OSError:
        return ''
    place = os.path.realpath(folder)
    mounts = [(left.split()[4], *right.split()[:2]) for left, _, right in _halves(lines)]
    above = [m for m in mounts if os.path.commonpath([place, _plain(m[0])]) == _plain(m[0])]
    # Of two mounts at one place, the later line is on top.
    where, kind, source = max(reversed(above), key=lambda m: len(m[0]), default=('', '', ''))
    is_store = OBJECT_STORES.search(f'{kind} {source.partition(":")[0]}') and 'fuse' in kind
    return f'{_plain(where)} ({kind}, {source})' if is_store else ''


def no_locks(folder: str | os.PathLike, mount: str) -> str:
    """Return what to say of a folder on the mount of an object store."""
    return (
        f'{os.fspath(folder)} is on {mount}, a mount of an object store, where no lock holds '
        'between machines and no file is replaced in one step: use it from one machine alone, or '
        'take a file system such as NFS, Lustre or BeeGFS (docs/storage.md)'
    )


def _halves(lines: list[str]) -> list[tuple[str, str, str]]:
    return [parts for line in lines if (parts := line.partition(' - '))[2]]


def _plain(path: str) -> str:
    r"""Return a path of mountinfo, in which a space is ``\040``."""
    return re.sub(r'\\(\d{3})', lambda match: chr(int(match[1], 8)), path)
