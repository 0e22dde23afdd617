"""mmengine's file backend, with files that are there whole or not at all."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from memba_vision.files import write_atomically


class AtomicLocalBackend(LocalBackend):
    """mmengine's backend for local files, with atomic writes: ``backend_args``'s 'atomic'."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see :func:`write_atomically`."""
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; see :func:`write_atomically`."""
        write_atomically(filepath, obj.encode(encoding))


register_backend('atomic', AtomicLocalBackend, force=True)


class HeldBackend(LocalBackend):
    """Keeps files in a dict of paths and contents: ``backend_args``'s 'held'."""

    def __init__(self, held: dict[str, bytes]) -> None:
        self.held = held

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Keep ``obj`` as the content of ``filepath``."""
        self.held[str(filepath)] = obj


register_backend('held', HeldBackend, force=True)
