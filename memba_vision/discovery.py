"""Import every module of a package, so that a new file registers itself, and nothing needless."""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


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


def after_import(package: str, action: Callable[[], Any]) -> None:
    """Call ``action`` once ``package`` has been imported: at once, or when somebody does."""
    if package in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _Watch(package, action))


class _Watch(MetaPathFinder):
    """Finds one package as the finders after it do, and acts when it has been loaded."""

    def __init__(self, package: str, action: Callable[[], Any]) -> None:
        self.package = package
        self.action = action

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != self.package:
            return None
        # Others may only want to know whether the package is there: keep watching.
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = _ActingLoader(spec.loader, self.action)
        return spec


class _ActingLoader(Loader):
    """A loader that acts after the package is there."""

    def __init__(self, loader: Loader, action: Callable[[], Any]) -> None:
        self.loader = loader
        self.action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.action()
