"""Configs and tools where there is no checkout: what a wheel holds, and that it works."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import CONFIGS, REPOSITORY, TOOLS, as_arguments, needs_checkout, tiny_options

from memba_vision.__main__ import main
from memba_vision.errors import UserError
from memba_vision.package_data import find_config
from memba_vision.runs.config import load_config


@pytest.mark.parametrize(
    'name', ['demo/digits_memba', 'demo/digits_memba.py', 'configs/demo/digits_memba.py']
)
def test_configs_are_found_by_name_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == CONFIGS / 'demo' / 'digits_memba.py'
    assert load_config(name, {}, None).task == 'digits'


def test_a_file_of_ones_own_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Path('configs/demo/digits_memba.py')
    own.parent.mkdir(parents=True)
    own.write_text("task = 'mine'\nmodel = dict(type='ImageClassifier')\n")
    assert find_config(own) == own
    assert load_config(str(own), {}, None).task == 'mine'
    with pytest.raises(UserError, match=r'no config at demo/digits .*: give a file such as'):
        find_config('demo/digits')


def test_the_command_lists_and_runs_the_tools(monkeypatch, capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, 'argv', ['memba-vision', *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    status, usage, _ = call('--help')
    assert status == 0
    tools = {line.split()[0] for line in usage.splitlines()[2:]}
    assert tools == {path.stem for path in TOOLS.glob('*.py')}
    assert call() == (2, '', usage)
    status, output, error = call('trian')
    assert (status, output) == (2, '')
    assert error.startswith(usage.rstrip())
    assert 'did you mean train?' in error
    status, _, error = call('train', 'nothing.py')
    assert status == 2
    assert error.startswith('error: no config at nothing.py')
    assert call('train', '--help')[1].startswith('usage: train.py')


def copy_repository(to: Path) -> Path:
    """Copy what git would; setuptools leaves folders in what it builds."""
    files = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard'],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for file in files:
        if (REPOSITORY / file).is_file():
            (to / file).parent.mkdir(parents=True, exist_ok=True)
            (to / file).write_bytes((REPOSITORY / file).read_bytes())
    return to


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('wheel')
    arguments = ['-q', '--no-deps', '--no-build-isolation', '-w', str(folder)]
    source = copy_repository(folder / 'source')
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *arguments, str(source)], check=True)
    return next(folder.glob('*.whl'))


@needs_checkout
@pytest.mark.slow
def test_a_wheel_holds_each_config_and_each_tool(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {n.removeprefix('memba_vision/.mim/') for n in names if '/.mim/' in n}
    folders = (REPOSITORY / 'configs', REPOSITORY / 'tools')
    expected = {
        str(path.relative_to(REPOSITORY))
        for folder in folders
        for path in folder.rglob('*')
        if path.is_file() and not {'__pycache__', 'benchmarking', 'benchmark.py'} & set(path.parts)
    }
    assert shipped == expected | {'model-index.yml'}
    weights = [f'memba_vision/pretrained/{m}-mini.safetensors' for m in ('vim', 'vmamba', 'vit')]
    assert {*weights} <= {*names}
    assert not any(name.startswith(('tests', 'configs', 'tools')) for name in names)


CODE = """
import sys
import memba_vision
assert 'site' in memba_vision.__file__.split('/'), memba_vision.__file__
from mmengine.config import Config
assert Config.fromfile('mine.py').task == 'digits'
inferencer = memba_vision.Inferencer('work_dirs/digits_memba/epoch_2.pth')
print(inferencer(sys.argv[1])[0]['pred_class'])
"""


@needs_checkout
@pytest.mark.slow
def test_an_installed_copy_trains_and_predicts_in_an_empty_folder(wheel, tmp_path):
    site, empty = tmp_path / 'site', tmp_path / 'empty'
    empty.mkdir()
    (empty / 'mine.py').write_text("_base_ = 'memba_vision::demo/digits_memba.py'")
    install = ['install', '-q', '--no-deps', '--target', str(site), str(wheel)]
    subprocess.run([sys.executable, '-m', 'pip', *install], check=True)
    settings = dict(
        cwd=empty,
        env={**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    train = [sys.executable, '-m', 'memba_vision', 'train', 'demo/digits_memba']
    warm_up = ['param_scheduler.0.end=1', 'param_scheduler.1.begin=1']
    short = ['--cfg-options', 'train_cfg.max_epochs=2', *warm_up]
    trained = subprocess.run([*train, *short], **settings)
    assert trained.returncode == 0, trained.stderr[-3000:]
    image = next((empty / 'data').rglob('test/*'))
    asked = subprocess.run([sys.executable, '-c', CODE, str(image)], **settings)
    assert asked.returncode == 0, asked.stderr[-3000:]
    assert asked.stdout.strip() in {str(digit) for digit in range(10)}


#: Calls of pip for an editable install: the first writes the package's record beside the code.
EDITABLE = """
from setuptools.build_meta import build_editable, get_requires_for_build_editable
get_requires_for_build_editable()
build_editable('.')
"""
#: OpenMMLab's mim asks this of setuptools' module, which pip has still, and looks for tools there.
FOUND = """
import pip._vendor.pkg_resources as packages
print(packages.get_distribution('memba_vision').location)
"""


@needs_checkout
@pytest.mark.slow
def test_what_mim_runs_of_an_editable_install(tmp_path, base, data_root):
    source, run = copy_repository(tmp_path / 'source'), tmp_path / 'run'

    def python(*arguments: object, folder: Path = tmp_path) -> str:
        command = [sys.executable, *map(str, arguments)]
        environment = {**os.environ, 'PYTHONPATH': str(source), 'OMP_NUM_THREADS': '1'}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    python('-c', EDITABLE, folder=source)
    found = Path(python('-W', 'ignore', '-c', FOUND).strip(), 'memba_vision', '.mim')
    assert found.parents[1] == source
    config = (found / 'configs' / 'demo' / 'digits_memba.py').resolve()
    options = ['--launcher', 'none', '--work-dir', run]
    options += as_arguments(tiny_options(base, data_root))
    python(found / 'tools' / 'train.py', config, *options)
    tested = python(found / 'tools' / 'test.py', config, run / 'epoch_2.pth', *options)
    assert '| memba ' in tested
    named = 'from memba_vision.package_data import *; print(package_data_folder())'
    assert python('-c', named).strip() == str(source)
