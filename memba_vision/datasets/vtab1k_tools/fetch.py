"""Download the archive of VTAB-1k."""

from pathlib import Path

from memba_vision.download import download
from memba_vision.errors import UserError
from memba_vision.files import exclusive_lock

DRIVE_ID = '1yZKwiKdsBzTfBgnStRveYMokc7GMMd5p'


def fetch_archive(path: Path, url: str | None = None) -> None:
    """Put the archive at ``path``; what an interrupted call left is continued.

    Args:
        path: the file to write.
        url: an http(s) address; None for the Google Drive file that papers share, for which the
            package gdown must be installed.

    Raises:
        UserError: gdown is not installed, or the download failed.
    """
    if path.is_file():
        return
    if url:
        download(url, path)
        return
    try:
        import gdown
    except ImportError as error:
        raise UserError(
            'downloading from Google Drive needs gdown: pip install gdown; or fetch the file with '
            f'a browser (https://drive.google.com/file/d/{DRIVE_ID}), or give --url'
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive_lock(path):
            if path.is_file():  # another process was quicker
                return
            done = gdown.download(id=DRIVE_ID, output=str(path), resume=True)
    except Exception as error:  # gdown's own errors, requests' and the system's
        raise _failed(path, ' '.join(str(error).split())) from error
    if not done or not path.is_file():
        raise _failed(path, 'it gave no file')


def _failed(path: Path, reason: str) -> UserError:
    return UserError(
        f'Google Drive refused ({reason}): run the same command again later to go on, or fetch '
        f'https://drive.google.com/file/d/{DRIVE_ID} with a browser and save it as {path}'
    )
