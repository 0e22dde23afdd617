"""Atomic writes, locks and hashes of files, and texts for them."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from memba_vision.errors import DiskFull, UserError
from memba_vision.leases import lease, machine_in_names

#: Error numbers of a full disk, a used-up quota and a limit on the size of files.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: The temporary names of write_atomically, with machine and process; version 0.1 named no machine.
UNFINISHED = re.compile(r'\..+\.(?:([^.]*)@)?(\d+)\.\d+')
#: The names of folders that are being made, with machine and process; those of older versions had
#: neither.
UNFINISHED_FOLDER = re.compile(r'\.unfinished-(?:([^.]*)@(\d+)-)?[^@]+')
#: Seconds after which the temporary file or folder of another host counts as left behind.
ABANDONED = 24 * 3600.0
PIECE = 1 << 20  # bytes
#: The file of a run's folder that has the loss of each epoch, and the accuracy of validations.
CURVE_FILE = 'losses.jsonl'


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write ``content`` under a temporary name, flush it to the disk, then rename it.

    A process that is killed in between leaves what was at ``path`` before. A link stays, and leads
    to the new content; into what is no file, such as a pipe or ``/dev/stdout``, it is written.

    Raises:
        UserError: the disk is full, and what was at ``path`` is still there; or no file can be
            there.
    """
    path = Path(path)
    check_output_file(path)
    if _is_special(path):
        path.write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # as in /proc, where nothing can be made
        raise UserError(f'{path.parent} cannot be made: name another place') from error
    temporary = temporary_name(path)
    try:
        with open(temporary, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in DISK_FULL:
            raise cannot_write(path, error) from error
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_name(path: Path) -> Path:
    """Return a name beside ``path`` that tells which process writes there.

    See :func:`remove_unfinished`.
    """
    process = f'{machine_in_names()}@{os.getpid()}'
    return path.with_name(f'.{path.name}.{process}.{threading.get_ident()}')


@contextlib.contextmanager
def unfinished_folder(parent: str | Path) -> Iterator[Path]:
    """Make a folder in ``parent`` for what is moved out when it is whole, and remove it at the end.

    Those of processes that were killed in between are removed first, under the rules of
    :func:`remove_unfinished`.
    """
    for path in Path(parent).glob('.unfinished-*'):
        match = UNFINISHED_FOLDER.fullmatch(path.name)
        if match and _is_left_behind(path, match[1] or '', match[2] or ''):
            shutil.rmtree(path, ignore_errors=True)
    prefix = f'.unfinished-{machine_in_names()}@{os.getpid()}-'
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as made:
        yield Path(made)


def check_output_path(path: str | Path) -> None:
    """Check that a file or folder can be made at ``path``, with its parent folders.

    Raises:
        UserError: there is a file in the place of a parent folder, or no right to write there.
    """
    place = Path(path).absolute()
    places = place.parents if not place.is_dir() else (place, *place.parents)
    above = next(folder for folder in places if os.path.lexists(folder))
    if not above.is_dir():
        raise UserError(f'{above} is no folder, so {path} cannot be in it: name another place')
    effective = os.access in os.supports_effective_ids
    if not os.access(above, os.W_OK | os.X_OK, effective_ids=effective):
        raise UserError(f'no right to write in {above}, where {path} would be: name another place')


def check_output_file(path: str | Path) -> None:
    """Check that a file can be made at ``path``, where there may be a file but no folder.

    Raises:
        UserError: see :func:`check_output_path`, or there is a folder.
    """
    if _is_special(Path(path)):
        return
    check_output_path(os.path.realpath(path) if os.path.islink(path) else path)
    if Path(path).is_dir():
        raise UserError(f'{path} is a folder: name a file')


def _is_special(path: Path) -> bool:
    """Return True for a pipe, a terminal or another device, also behind a link."""
    return path.exists() and not (path.is_file() or path.is_dir())


def encode_surrogates(text: str) -> bytes:
    """Encode ``text`` in UTF-8; bytes of file names that are no UTF-8 come out unchanged.

    Python holds such bytes as surrogates (PEP 383).
    """
    return text.encode(errors='surrogateescape')


def escape_surrogates(text: str) -> str:
    """Escape bytes of file names that are no UTF-8 as ``\\udce9``, for texts that must be UTF-8."""
    return text.encode(errors='backslashreplace').decode()


def csv_table(rows: Iterable[Sequence[object]]) -> str:
    """Return rows of cells, the first being the header, as comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    return text.getvalue()


def remove_unfinished(folder: str | Path) -> None:
    """Remove the temporary files in ``folder`` of processes killed in :func:`write_atomically`.

    Whether a process of another machine lives cannot be seen here: its files are removed after a
    day.
    """
    for path in Path(folder).glob('.*'):
        match = UNFINISHED.fullmatch(path.name)
        if match and _is_left_behind(path, match[1], match[2]):
            path.unlink(missing_ok=True)


def _is_left_behind(path: Path, machine: str | None, process: str) -> bool:
    if machine in (None, machine_in_names()):
        return not Path('/proc', process).exists()
    try:
        return time.time() - path.stat().st_mtime > ABANDONED
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def exclusive_lock(path: Path) -> Iterator[Any]:
    """Hold an exclusive lock for creating ``path``, in a folder that exists, on all its machines.

    Check again after acquiring it that ``path`` does not exist. The lock ends with its process, or,
    where that was on another machine, a minute later.

    Yields:
        The lease, whose ``compromise`` is not None if the lock was lost; see
        :func:`memba_vision.leases.lease`.

    Raises:
        UserError: the disk is full.
    """
    lock = lease(path.with_name(f'.{path.name}.lease'))
    try:
        held = lock.acquire()
    except OSError as error:
        if error.errno in DISK_FULL:
            raise cannot_write(path, error) from error
        raise
    with held:
        yield lock


def cannot_write(path: str | Path, error: OSError) -> DiskFull:
    """Return the error for a ``path`` that could not be written."""
    return DiskFull(
        f'cannot write {path} ({error.strerror}): what was written before is intact; free '
        'some space, and run the same command again (training: with --resume)'
    )


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def write_checksum(path: Path, **facts: str) -> dict[str, object]:
    """Record the size and the SHA-256 of ``path`` beside it, for :func:`verify_checksum`.

    Args:
        path: a file.
        facts: further entries, such as the origin of the file.

    Returns:
        The record.
    """
    record = {**facts, 'size': path.stat().st_size, 'sha256': sha256_of(path)}
    write_atomically(_record_of(path), (json.dumps(record, indent=2) + '\n').encode())
    return record


def remove_checksum(path: Path) -> None:
    """Remove the record of a file that is about to be written anew."""
    if _recorded(path):
        _record_of(path).unlink()


def verify_checksum(path: Path) -> bool:
    """Compare a file with the record of it; False if there is none.

    Raises:
        UserError: the file's size or hash differs from the record, or that cannot be read.
    """
    expected, record_path = _recorded(path), _record_of(path)
    if expected is None:
        return False
    found = (path.stat().st_size, sha256_of(path))
    if found != expected:
        raise UserError(
            f'{path} is not the file that {record_path.name} describes: it has {found[0]:,} bytes '
            f'and SHA-256 {found[1][:12]}…, expected {expected[0]:,} and {str(expected[1])[:12]}…: '
            'it was damaged or replaced; remove both and fetch it again'
        )
    return True


def _recorded(path: Path) -> tuple[int, str] | None:
    """Return the size and the hash that a record states; None where no file beside it is one."""
    record_path = _record_of(path)
    if not record_path.is_file():
        return None
    try:
        record = json.loads(record_path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{record_path} cannot be read: remove it, or restore it') from error
    is_record = isinstance(record, dict) and {'size', 'sha256'} <= record.keys()
    return (record['size'], record['sha256']) if is_record else None


def _record_of(path: Path) -> Path:
    return path.with_name(f'{path.name}.json')
