"""Hashes of weights that their authors state, by the name of the file."""

from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlparse

from memba_vision.errors import UserError
from memba_vision.files import sha256_of

#: Beginnings of the SHA-256. The authors of the other published weights state none.
HASHES = MappingProxyType({'deit_small_patch16_224-cd65a155.pth': 'cd65a155'})


def describe_hash(location: str) -> str:
    """Return what to say of the hash of a file that is missing; empty where none is stated.

    Args:
        location: path or address.
    """
    stated = HASHES.get(Path(urlparse(location).path).name)
    return f'; the SHA-256 of its content begins with {stated}' if stated else ''


def check_hash(path: Path) -> None:
    """Compare a file with the hash that is stated for its name, wherever it comes from.

    Raises:
        UserError: it is another file.
    """
    stated = HASHES.get(path.name)
    if stated is None:
        return
    found = sha256_of(path)
    if not found.startswith(stated):
        raise UserError(
            f'{path} is damaged, or another file under this name: its SHA-256 begins with '
            f'{found[: len(stated)]}, and its authors state {stated}: download it again, or give '
            'weights of your own another name'
        )
