"""Import every module of a package, so that a new file registers itself, and nothing needless."""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_submodules(package: str, path: list[str]) -> None:
    """Import the modules that lie in ``path``, the ``__path__`` of ``package``.

    Adding a kernel or an adapter is adding a file: nothing else lists them.
    """
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f'{package}.{module.name}')


@contextmanager
def as_if_missing(package: str) -> Iterator[None]:
    """Let ``import package`` fail for a while, unless it has been imported before."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None
    try:
        yield
    finally:
        del sys.modules[package]
