"""The cache of compiled kernels, and the way on where it cannot be used.

numba would end the program over a file that it cannot read, and would run code that was compiled
from older versions of the parts that a kernel calls: it looks at the time stamp of a kernel's own
file alone.
"""

import contextlib
import hashlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    _CacheLocator,
)

DIGEST = hashlib.sha256
_said: list[Exception] = []


class KernelCache(FunctionCache):
    """The compiled versions of one kernel on disk.

    One that cannot be read is compiled, and written anew where it was damaged; one that cannot be
    written is compiled by every process. Both are said, once for all kernels.
    """

    def __init__(self, function: Callable) -> None:
        self._impl_class = _Kept
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = _Files(
            self._cache_path, self._impl.filename_base, locator.get_source_stamp()
        )

    def load_overload(self, sig, target_context):
        """The compiled kernel for a signature, or None where there is none that can be used."""
        try:
            return super().load_overload(sig, target_context)
        except Foreign as problem:
            _say_unused(problem)
            self.disable()
        except Exception as problem:  # whatever numba makes of a damaged file
            _say_unused(problem)
            with contextlib.suppress(OSError):
                self.flush()
        return None

    def save_overload(self, sig, data):
        """Keep a compiled kernel if that can be done."""
        try:
            super().save_overload(sig, data)
        except Exception as problem:
            _say_unused(problem)
            self.disable()


class Foreign(Exception):
    """Code that another user has compiled: it would run in this one's name."""


class _Files(IndexDataCacheFile):
    """Files that end in a digest of the rest."""

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        with super()._open_for_write(filepath) as file:
            content = io.BytesIO()
            yield content
            file.write(content.getvalue() + DIGEST(content.getvalue()).digest())

    def _load_index(self):
        if os.path.lexists(self._index_path):
            _verify(self._index_path)
        return super()._load_index()

    def _load_data(self, name):
        _verify(self._data_path(name))
        return super()._load_data(name)


def _verify(path: str) -> None:
    with open(path, 'rb') as file:
        if hasattr(os, 'getuid') and os.fstat(file.fileno()).st_uid not in (0, os.getuid()):
            raise Foreign(f'{path} belongs to another user')
        content = file.read()
    size = DIGEST().digest_size
    if DIGEST(content[:-size]).digest() != content[-size:]:
        raise ValueError(f'{path} is damaged')


class _Locator(_CacheLocator):
    """One folder for this state of the sources."""

    def __init__(self, function: Callable) -> None:
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(_folder())

    def get_source_stamp(self) -> str:
        return _folder().name

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Callable, file: str) -> '_Locator':
        return cls(function)


class _Kept(CompileResultCacheImpl):
    _locator_classes = [_Locator]


@cache
def _folder() -> Path:
    """The folder, by a hash of the sources; ``NUMBA_CACHE_DIR`` says where it lies."""
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob('*.py')):
        sources.update(path.read_bytes())
    root = os.environ.get('NUMBA_CACHE_DIR') or Path(_home(), 'memba_vision', 'numba')
    folder = Path(root, sources.hexdigest()[:16])
    if not os.path.exists(folder):
        logging.getLogger(__name__).warning(
            'Compiling the CPU kernels, once on this machine: about half a minute'
        )
    return folder


def _home() -> str | Path:
    try:
        return os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    except RuntimeError:  # a user that the system does not know, as containers have them
        return tempfile.gettempdir()


def _say_unused(problem: Exception) -> None:
    """Say why compiled kernels are not read or not kept; once, not for each kernel."""
    if _said:
        return
    _said.append(problem)
    logging.getLogger(__name__).warning(
        'Compiling the CPU kernels without their cache, about half a minute: %s. '
        'Set NUMBA_CACHE_DIR to a folder of your own, or remove %s',
        str(problem) or type(problem).__name__,
        _folder(),
    )
