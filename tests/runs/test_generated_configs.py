"""Configs of any task, method and backbone; those that are shipped are what is generated."""

import pytest
from helpers import CONFIGS
from mmengine.config import Config

from memba_vision.datasets.benchmarks import BENCHMARKS, benchmark_of
from memba_vision.errors import UserError
from memba_vision.runs.base_models import architectures
from memba_vision.runs.config import load_config
from memba_vision.runs.generated_configs import config_file_name, config_text

SHIPPED = [
    path for benchmark in BENCHMARKS.values() for path in (CONFIGS / benchmark.configs).glob('*.py')
]


def parts_of(stem: str) -> tuple[str, str, str | None]:
    """Task, method and backbone of a file's name."""
    tasks = [task for b in BENCHMARKS.values() for task in b.tasks if stem.startswith(f'{task}_')]
    task = max(tasks, key=len)
    backbone, _, method = stem.removeprefix(f'{task}_').rpartition('_')
    return task, method, backbone or None


@pytest.mark.parametrize('path', sorted(SHIPPED), ids=lambda path: path.stem)
def test_a_shipped_config_is_what_is_generated(path, tmp_path):
    task, method, backbone = parts_of(path.stem)
    assert config_file_name(task, method, backbone) == path.name
    (tmp_path / path.name).write_text(config_text(task, method, backbone))
    generated = Config.fromfile(tmp_path / path.name)
    assert generated.to_dict() == Config.fromfile(path).to_dict()


def test_every_task_has_its_config():
    for benchmark in BENCHMARKS.values():
        files = {path.name for path in (CONFIGS / benchmark.configs).glob('*_memba.py')}
        assert files >= {config_file_name(task, 'memba') for task in benchmark.tasks}


@pytest.mark.parametrize('method', ['lora', 'scratch', 'hybrid', 'linear-probing'])
@pytest.mark.parametrize('task', ['digits', 'dsprites_location'])
def test_a_generated_config_is_that_of_the_command_line(method, task, tmp_path):
    benchmark = benchmark_of(task)
    usual = CONFIGS / benchmark.configs / config_file_name(task, 'memba')
    for backbone in architectures():
        path = tmp_path / config_file_name(task, method, backbone)
        try:
            path.write_text(config_text(task, method, backbone))
        except UserError as error:
            assert 'has no data config for images of' in str(error)
            continue
        generated = load_config(str(path), {}, 'same')
        given = load_config(
            str(usual), {}, 'same', peft=method.replace('-', '_'), backbone=backbone
        )
        assert generated.model == given.model
        assert generated.test_dataloader == given.test_dataloader


@pytest.mark.parametrize('parts', [('lora', 'my/own.py'), ('my/own.py', None)], ids=str)
def test_files_of_ones_own_are_no_part_of_it(parts):
    with pytest.raises(UserError, match=r'^my/own\.py: configs are written of shipped methods'):
        config_text('digits', *parts)


def test_a_task_of_ones_own_has_none():
    with pytest.raises(UserError, match='flowers is no task of a benchmark: copy a file of'):
        config_text('flowers', 'lora')
