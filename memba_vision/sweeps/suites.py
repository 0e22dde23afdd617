"""Configs that train on the tasks of a suite."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from memba_vision.datasets.benchmarks import find_suite
from memba_vision.errors import UserError
from memba_vision.files import write_atomically
from memba_vision.package_data import package_data_folder
from memba_vision.runs.external_bases import PREFIX
from memba_vision.runs.generated_configs import config_file_name, config_text

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


def write_suite_configs(
    suite: str, methods: Sequence[str], backbones: Sequence[str | None], folder: Path
) -> list[Path]:
    """Write the config of every task of a suite, method and backbone; return their paths.

    Args:
        suite: the suite.
        methods: presets.
        backbones: shipped models; None stands for that of the suite's benchmark.
        folder: receives the files; it is made if need be.

    Raises:
        UserError: there is no such suite, method or backbone, or no data of its image size.
    """
    texts = {}
    for task, backbone, method in product(find_suite(suite)[1], backbones, methods):
        part = task.name, method, backbone
        text = config_text(*part)
        if folder.resolve().parent == CONFIGS.resolve():
            text = text.replace(PREFIX, '../')  # as the shipped ones, which know their place
        texts[folder / config_file_name(*part)] = text
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        write_atomically(path, text.encode())
    return list(texts)


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
