"""Suites of tasks, as the configs that train on them."""

from pathlib import Path

from memba_vision.datasets.tasks import MINI_TASKS, VTAB1K_TASKS, Task
from memba_vision.errors import UserError
from memba_vision.shipped import shipped_folder

CONFIGS = shipped_folder() / 'configs'
#: Suites by name: the folder of configs, and the tasks. A method takes the place of Memba in them.
SUITES: dict[str, tuple[str, list[Task]]] = {
    'vtab1k': ('vtab1k', list(VTAB1K_TASKS.values())),
    **{
        group.lower(): ('vtab1k', [task for task in VTAB1K_TASKS.values() if task.group == group])
        for group in ('Natural', 'Specialized', 'Structured')
    },
    'demo': ('demo', list(MINI_TASKS.values())),
}


def suite_configs(suite: str) -> list[str]:
    """The configs of a suite, a task each.

    Raises:
        UserError: there is no such suite, or the package was installed without its configs.
    """
    if suite not in SUITES:
        raise UserError(f'no suite {suite!r}; known are {", ".join(SUITES)}')
    folder, tasks = SUITES[suite]
    paths = [CONFIGS / folder / f'{task.name}_memba.py' for task in tasks]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(f'--suite {suite} needs {missing[0]}: work in a copy of the repository')
    return [_relative(path) for path in paths]


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
