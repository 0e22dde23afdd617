"""Import every module of a package, so that a new file registers itself."""

import importlib
import pkgutil


def import_submodules(package: str, path: list[str]) -> None:
    """Import the modules that lie in ``path``, the ``__path__`` of ``package``.

    Adding a kernel or an adapter is adding a file: nothing else lists them.
    """
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f'{package}.{module.name}')
