"""Cache of compiled kernels on disk, which falls back to compiling if a file cannot be used.

numba's own cache raises an error over an unreadable file. It compares only the time stamp of a
kernel's own file, and would run code that was compiled from older versions of the functions that
the kernel calls.
"""

import contextlib
import hashlib
import io
import logging
import os
import sys
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

from memba_vision.discovery import import_submodules

DIGEST = hashlib.sha256
_warned: list[Exception] = []


class KernelCache(FunctionCache):
    """The compiled versions of one kernel on disk.

    A file that cannot be read is compiled again, and replaced if it was damaged. A kernel that
    cannot be written is compiled by every process. One warning is logged for all kernels.
    """

    def __init__(self, function: Callable) -> None:
        self._impl_class = _CacheImpl
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = _DigestedFiles(
            self._cache_path, self._impl.filename_base, locator.get_source_stamp()
        )

    def load_overload(self, sig, target_context):
        """Return the compiled kernel for a signature, or None if no usable one is on disk."""
        try:
            return super().load_overload(sig, target_context)
        except ForeignFile as problem:
            _warn_unused(problem)
            self.disable()
        except Exception as problem:  # numba raises many kinds of errors over a damaged file
            _warn_unused(problem)
            with contextlib.suppress(OSError):
                self.flush()
        return None

    def load_all(self, kernel) -> None:
        """Add every compiled version on disk to the kernel, but those that another CPU made."""
        codegen = kernel.targetctx.codegen()
        with contextlib.suppress(Exception):  # the first call tells what is wrong with the file
            for key in self._cache_file._load_index():
                if key == self._index_key(key[0], codegen):
                    kernel.compile(key[0])

    def save_overload(self, sig, data):
        """Write a compiled kernel to disk, or log a warning if that is not possible."""
        try:
            super().save_overload(sig, data)
        except Exception as problem:
            _warn_unused(problem)
            self.disable()


class ForeignFile(Exception):
    """A file of another user: running its code would give that user the rights of this one."""


class _DigestedFiles(IndexDataCacheFile):
    """Cache files that end with a digest of their content."""

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
            raise ForeignFile(f'{path} belongs to another user')
        content = file.read()
    size = DIGEST().digest_size
    if DIGEST(content[:-size]).digest() != content[-size:]:
        raise ValueError(f'{path} is damaged')


class _SourcesLocator(_CacheLocator):
    """Places all kernels in one folder, whose name is a hash of the sources."""

    def __init__(self, function: Callable) -> None:
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(_folder())

    def get_source_stamp(self) -> str:
        return _folder().name

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Callable, file: str) -> '_SourcesLocator':
        return cls(function)


class _CacheImpl(CompileResultCacheImpl):
    _locator_classes = [_SourcesLocator]


@cache
def _folder() -> Path:
    """Return the cache folder, and log that it will be filled if it is new."""
    folder = _path()
    if not os.path.exists(folder):
        logging.getLogger(__name__).warning(
            'Compiling the CPU kernels, once on this machine: about half a minute'
        )
    return folder


def _path() -> Path:
    """Return the cache folder, named by a hash of the sources, inside ``NUMBA_CACHE_DIR``."""
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob('*.py')):
        sources.update(path.read_bytes())
    root = os.environ.get('NUMBA_CACHE_DIR') or Path(_home(), 'memba_vision', 'numba')
    return Path(root, sources.hexdigest()[:16])


def load_kernels() -> None:
    """Import all kernels, and load the compiled versions that are on disk.

    It starts no thread, so that a process may fork afterwards. Where the disk has none, nothing is
    imported: the process that compiles them says so.
    """
    if not os.path.exists(_path()):
        return
    import_submodules(__package__, [str(Path(__file__).parent)])
    for module in [sys.modules[name] for name in sys.modules if name.startswith(__package__)]:
        for kernel in vars(module).values():
            if isinstance(getattr(kernel, '_cache', None), KernelCache):
                kernel._cache.load_all(kernel)


def _home() -> str | Path:
    try:
        return os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    except RuntimeError:  # the user has no entry in the system's list, as in some containers
        return tempfile.gettempdir()


def _warn_unused(problem: Exception) -> None:
    """Log the reason that the cache cannot be used, once for all kernels."""
    if _warned:
        return
    _warned.append(problem)
    logging.getLogger(__name__).warning(
        'Compiling the CPU kernels without their cache, about half a minute: %s. '
        'Set NUMBA_CACHE_DIR to a folder of your own, or remove %s',
        str(problem) or type(problem).__name__,
        _folder(),
    )
