"""Configs that train on the tasks of a suite."""

from pathlib import Path

from memba_vision.datasets.benchmarks import find_suite
from memba_vision.errors import UserError
from memba_vision.package_data import package_data_folder

CONFIGS = package_data_folder() / 'configs'


def suite_configs(suite: str) -> list[str]:
    """Return the configs of a suite, one for each task, in which other methods replace Memba.

    Raises:
        UserError: there is no such suite, or the package was installed without its configs.
    """
    benchmark, tasks = find_suite(suite)
    paths = [CONFIGS / benchmark.configs / f'{task.name}_memba.py' for task in tasks]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(f'--suite {suite} needs {missing[0]}: work in a copy of the repository')
    return [_relative(path) for path in paths]


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
