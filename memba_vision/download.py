"""Resumable downloads."""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from torch.hub import tqdm

from memba_vision.errors import UserError
from memba_vision.files import DISK_FULL, cannot_write, exclusive_lock

PIECE = 1 << 17  # bytes
TIMEOUT = 60  # seconds without a byte


def download(url: str, path: Path) -> None:
    """Download ``url`` to ``path``, atomically, unless there is a file already.

    An interrupted download stays in ``<path>.part``, and a later call requests the rest alone (HTTP
    range requests, RFC 9110 section 14), provided the server still has the same file: its ETag or
    date of change is kept in ``<path>.part.version``. Of several processes that want the same
    file, one downloads it and the others wait.

    Raises:
        UserError: it cannot be fetched or written, or less arrived than was announced.
    """
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(path) as lock:
        if path.is_file():  # another process was quicker
            return
        try:
            _fetch(url, path)
            if lock.compromise is not None:
                raise OSError('this process stood still, and another one has taken over')
            _part(path).replace(path)
            _version(path).unlink()
        except OSError as error:
            if error.errno in DISK_FULL:
                raise cannot_write(path, error) from error
            raise _failed(url, path, error) from error
        except (http.client.HTTPException, ValueError) as error:
            raise _failed(url, path, error) from error


def _failed(url: str, path: Path, error: Exception) -> UserError:
    return UserError(
        f'cannot download {url} ({error}): run the same command again to go on from where it '
        f'stopped, or download it elsewhere and put it at {path}, or name a local path'
    )


def _fetch(url: str, path: Path) -> None:
    """Fetch all that is missing of ``<path>.part``."""
    part, version = _part(path), _version(path)
    with _open(url, part, version) as response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        arrived = part.stat().st_size if resumed else 0
        announced = response.headers.get('Content-Length')
        total = arrived + int(announced) if announced else None
        if not resumed:
            version.write_text(_version_of(response), encoding='utf-8')
        with part.open('ab' if resumed else 'wb') as file:
            _copy(response, file, path.name, arrived, total)
    arrived = part.stat().st_size
    if total is not None and arrived != total:
        raise OSError(f'only {arrived:,} of {total:,} bytes arrived')


def _part(path: Path) -> Path:
    return path.with_name(f'{path.name}.part')


def _version(path: Path) -> Path:
    return path.with_name(f'{path.name}.part.version')


def _open(url: str, part: Path, version: Path) -> http.client.HTTPResponse:
    known = version.read_text(encoding='utf-8') if version.is_file() else ''
    start = part.stat().st_size if part.is_file() and known else 0
    if not start:
        return urllib.request.urlopen(url, timeout=TIMEOUT)
    # A server whose file has changed since answers with the whole of the new one.
    headers = {'Range': f'bytes={start}-', 'If-Range': known}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return urllib.request.urlopen(url, timeout=TIMEOUT)
    expected = f'bytes {start}-'
    found = response.headers.get('Content-Range', '')
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and not found.startswith(expected):
        response.close()
        raise OSError(f'the server sent the range {found!r} when asked for {expected!r}')
    return response


def _version_of(response: http.client.HTTPResponse) -> str:
    etag = response.headers.get('ETag', '')
    weak = etag.startswith('W/')  # not to be used with ranges
    return (etag if not weak else '') or response.headers.get('Last-Modified', '')


def _copy(response: http.client.HTTPResponse, file, name: str, arrived: int, total) -> None:
    with tqdm(
        total=total, initial=arrived, desc=name, unit='B', unit_scale=True, disable=None
    ) as progress:
        while piece := response.read(PIECE):
            file.write(piece)
            progress.update(len(piece))
        file.flush()
        os.fsync(file.fileno())
