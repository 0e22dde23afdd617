"""Executors of runs: a file for each, which registers itself."""

from collections.abc import Callable

from memba_vision.discovery import import_submodules
from memba_vision.sweeps.executors.base import Attempt, Ended, Executor

#: Executors by their names for ``--executor``.
EXECUTORS: dict[str, type[Executor]] = {}


def register(name: str) -> Callable[[type[Executor]], type[Executor]]:
    """Return a decorator that enters an executor under a name."""

    def enter(executor: type[Executor]) -> type[Executor]:
        EXECUTORS[name] = executor
        return executor

    return enter


import_submodules(__name__, __path__)

__all__ = ['EXECUTORS', 'Attempt', 'Ended', 'Executor', 'register']
