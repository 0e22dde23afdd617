"""Unpack untrusted zip and tar archives."""

import contextlib
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from memba_vision.errors import UserError
from memba_vision.files import (
    DISK_FULL,
    PIECE,
    cannot_write,
    remove_unfinished,
    temporary_name,
)

#: Limits that the shared archive of VTAB-1k stays well below; larger ones need higher limits.
MAX_BYTES = 50 * 10**9
MAX_FILES = 2_000_000
MAX_HEADER_BYTES = 1 << 20
MAX_BYTES_AFTER_THE_END = 1 << 26  # of a tar, which is padded with zeros

_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,  # an encrypted zip
    ValueError,
    OverflowError,
)


@dataclass(frozen=True)
class Member:
    """A file in an archive: its path, its size in bytes, and how to read it.

    ``checksum`` is the CRC-32 of its bytes where the archive holds one.
    """

    path: PurePosixPath
    size: int
    checksum: int | None
    open: Callable[[], BinaryIO]


def extract(
    archive: Path, out: Path, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES
) -> int:
    """Unpack a zip or tar archive below ``out``.

    Everything that the archive lists is checked before the first byte is written. A file appears
    under its name only when it is whole, so that calling this again after an interruption goes on
    with what is missing.

    Args:
        archive: a zip, or a tar that may be compressed with gzip, bzip2 or xz.
        out: the folder to write to; made when missing.
        max_bytes: limit on the size of all files together.
        max_files: limit on their number.

    Returns:
        The number of files below ``out`` that come from the archive.

    Raises:
        UserError: the archive is damaged; it holds a link, a device, or a path that leaves
            ``out``; it is larger than the limits; or the disk is full.
    """
    from torch.hub import tqdm  # here alone: the help of tools asks for the limits

    if not archive.is_file():
        raise UserError(f'no archive at {archive}: give the path of a zip or tar file')
    with _reporting_damage(archive), _members_of(archive) as found:
        members = _check(found, archive, max_bytes, max_files)
    folders = {member.path.parent for member in members}
    _refuse_links_in_the_target(out, folders)
    try:
        for folder in sorted(folders):
            (out / folder).mkdir(parents=True, exist_ok=True)
            remove_unfinished(out / folder)
    except OSError as error:
        raise UserError(f'cannot make {error.filename}: {error.strerror}; give --out') from error
    with _reporting_damage(archive), _members_of(archive) as found:
        for member in tqdm(found, total=len(members), desc=out.name, unit=' files', disable=None):
            _write(member, out / member.path)
    return len(members)


@contextlib.contextmanager
def _reporting_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise cannot_write(archive.name, error) from error
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise UserError(
            f'{archive} ({archive.stat().st_size:,} bytes) cannot be unpacked ({reason}): it is '
            'damaged, truncated or no zip or tar; download it again'
        ) from error


@contextlib.contextmanager
def _members_of(archive: Path) -> Iterator[Iterator[Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield _zip_members(file)
    else:
        with tarfile.open(archive, tarinfo=_TarInfo) as file:
            yield _tar_members(file)


class _TarInfo(tarfile.TarInfo):
    """Tar header with a limited size, since headers are read into memory."""

    def _proc_member(self, file: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isfile() and not self.isdir() and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f'a header of {self.size:,} bytes')
        return super()._proc_member(file)


def _zip_members(file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        mode = info.external_attr >> 16
        if info.is_dir():
            _safe_folder(info.filename)
            continue
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise _refused(info.filename, 'is a link or a device')
        yield Member(
            _safe_path(info.filename), info.file_size, info.CRC, lambda info=info: file.open(info)
        )


def _tar_members(file: tarfile.TarFile) -> Iterator[Member]:
    for info in file:
        if info.isdir():
            _safe_folder(info.name)
            continue
        if not info.isfile() or info.issparse():
            raise _refused(info.name, 'is a link, a device or a sparse file')
        yield Member(
            _safe_path(info.name), info.size, None, lambda info=info: file.extractfile(info)
        )
    _read_to_the_end(file)


def _read_to_the_end(file: tarfile.TarFile) -> None:
    """Raise for a tar that lacks its end mark, or whose compressed stream has a wrong checksum.

    The module tarfile stops at the mark, before the checksum, and does without the mark.
    """
    if isinstance(file.fileobj, io.BufferedReader):  # not compressed
        if os.fstat(file.fileobj.fileno()).st_size < file.offset + tarfile.BLOCKSIZE:
            raise EOFError('its end mark is missing')
        return
    after = 0
    while piece := file.fileobj.read(PIECE):
        after += len(piece)
        if after > MAX_BYTES_AFTER_THE_END:
            raise ValueError('there is something after its end')


def _safe_folder(name: str) -> None:
    if name.rstrip('/') not in ('.', ''):  # tar writes "./" where a whole folder was packed
        _safe_path(name)


def _safe_path(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or '..' in path.parts or '\\' in name or name[1:2] == ':'
    if unsafe or not path.parts or not name.isprintable():
        raise _refused(name, 'leaves the folder, or is no plain path')
    return path


def _refused(name: str, reason: str) -> UserError:
    return UserError(
        f'the archive was not unpacked: {name!r} {reason}; no archive of images needs that, so '
        'get the archive from where you trust it'
    )


def _check(found: Iterator[Member], archive: Path, max_bytes: int, max_files: int) -> list[Member]:
    members, total, seen = [], 0, set()
    for member in found:
        total += member.size
        if total > max_bytes:
            raise UserError(
                f'{archive} holds more than {max_bytes:,} bytes, so it was not unpacked: raise '
                '--max-gigabytes if that is what you expect'
            )
        if len(members) >= max_files:
            raise UserError(
                f'{archive} holds more than {max_files:,} files, so it was not unpacked: no '
                'archive of VTAB-1k does, so get another one'
            )
        if member.path in seen:
            raise _refused(str(member.path), 'is there twice')
        seen.add(member.path)
        members.append(member)
    for member in members:
        if not seen.isdisjoint(member.path.parents):
            raise _refused(str(member.path), 'lies below a file')
    if not members:
        raise UserError(f'{archive} holds no file: download it again')
    return members


def _refuse_links_in_the_target(out: Path, folders: set[PurePosixPath]) -> None:
    real = out.resolve()
    for folder in folders:
        if not (out / folder).resolve().is_relative_to(real):
            raise UserError(
                f'{out / folder} leads out of {out} by a link: remove it, or give another --out'
            )


def _write(member: Member, path: Path) -> None:
    is_there = not path.is_symlink() and path.is_file() and path.stat().st_size == member.size
    has_checksum = member.checksum is not None
    if is_there and has_checksum and _checksum_of(path) == member.checksum:
        return
    temporary = temporary_name(path)
    with _reporting_write_errors(path):
        temporary.unlink(missing_ok=True)  # a link that someone put there
        target = temporary.open('xb')
    written = 0
    try:
        with target, member.open() as source:
            while piece := source.read(PIECE):
                written += len(piece)
                if written > member.size:
                    raise ValueError(f'{member.path} is larger than announced')
                with _reporting_write_errors(path):
                    target.write(piece)
        if written != member.size:
            raise EOFError(f'{member.path} ends after {written:,} of {member.size:,} bytes')
        if is_there and not has_checksum and cmp(temporary, path, shallow=False):
            temporary.unlink()
            return
        with _reporting_write_errors(path):
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _reporting_write_errors(path: Path) -> Iterator[None]:
    """Report an error of writing as such, not as damage of the archive."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise cannot_write(path, error) from error
        raise UserError(
            f'cannot write {path} ({error.strerror}): see to its permissions, or give --out'
        ) from error


def _checksum_of(path: Path) -> int:
    checksum = 0
    with path.open('rb') as file:
        while piece := file.read(PIECE):
            checksum = zlib.crc32(piece, checksum)
    return checksum
