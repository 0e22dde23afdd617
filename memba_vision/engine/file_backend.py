"""File backends for mmengine: atomic writes, and files kept in memory."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from memba_vision.files import write_atomically


class AtomicLocalBackend(LocalBackend):
    """Backend for local files that writes atomically, ``backend_args=dict(backend='atomic')``."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see :func:`write_atomically`."""
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; see :func:`write_atomically`."""
        write_atomically(filepath, obj.encode(encoding))


register_backend('atomic', AtomicLocalBackend, force=True)


class InMemoryBackend(LocalBackend):
    """Backend that keeps files in a dict by path, ``backend_args=dict(backend='held', held=…)``."""

    def __init__(self, held: dict[str, bytes]) -> None:
        self.held = held

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Keep ``obj`` as the content of ``filepath``."""
        self.held[str(filepath)] = obj


register_backend('held', InMemoryBackend, force=True)
