"""List of the files of a task with their hashes, in the format of ``sha256sum``."""

import re
from pathlib import Path

from memba_vision.errors import UserError
from memba_vision.files import sha256_of, write_atomically

MANIFEST = 'manifest.sha256'
_LINE = re.compile(r'([0-9a-f]{64})  (.+)')


def write_manifest(folder: Path, hashes: dict[str, str]) -> None:
    """Write the SHA-256 of each file, by its path below ``folder``; see :data:`MANIFEST`."""
    lines = [f'{hashes[path]}  {path}\n' for path in sorted(hashes)]
    write_atomically(folder / MANIFEST, ''.join(lines).encode())


def read_manifest(folder: Path) -> dict[str, str] | None:
    """Return the SHA-256 of each file by its path below ``folder``; None without a manifest.

    Raises:
        UserError: a line of it does not parse.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    hashes = {}
    lines = path.read_text(encoding='utf-8', errors='replace').split('\n')
    for number, line in enumerate(lines[:-1] if lines[-1] == '' else lines, start=1):
        match = _LINE.fullmatch(line)
        if not match:
            raise UserError(
                f'{path}, line {number}: expected a SHA-256, two spaces and a path, found '
                f'{line[:80]!r}: remove the file and run check again'
            )
        hashes[match[2]] = match[1]
    return hashes


def manifest_hash(folder: Path) -> str | None:
    """Return the SHA-256 of the manifest, which identifies all data of a task; None without one."""
    path = folder / MANIFEST
    return sha256_of(path) if path.is_file() else None
