"""Import all modules of a package, so that a new file registers itself, or names when asked for."""

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def import_submodules(package: str, path: list[str]) -> None:
    """Import the modules that lie in ``path``, the ``__path__`` of ``package``.

    Adding a kernel or an adapter is adding a file: nothing else lists them.
    """
    for module in pkgutil.iter_modules(path):
        import_module(f'{package}.{module.name}')


def late_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for ``package`` that imports what has a name when it is asked for.

    Args:
        package: the ``__name__`` of the package.
        modules: the modules that define the names, by name.
    """

    def get(name: str) -> Any:
        if name in modules:
            return getattr(import_module(modules[name]), name)
        raise AttributeError(f'module {package!r} has no attribute {name!r}')

    return get
