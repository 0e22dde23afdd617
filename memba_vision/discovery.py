"""Import of all modules of a package, so that new files register themselves, and lazy imports."""

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def import_submodules(package: str, path: list[str]) -> None:
    """Import all modules in ``path``, the ``__path__`` of ``package``.

    Adding a kernel or an adapter is adding a file: nothing else lists them.
    """
    for module in pkgutil.iter_modules(path):
        import_module(f'{package}.{module.name}')


def lazy_attributes(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's ``__getattr__`` that imports attributes on first use (PEP 562).

    Args:
        package: the ``__name__`` of the package.
        modules: the module that defines each attribute.
    """

    def get(name: str) -> Any:
        if name in modules:
            return getattr(import_module(modules[name]), name)
        raise AttributeError(f'module {package!r} has no attribute {name!r}')

    return get
