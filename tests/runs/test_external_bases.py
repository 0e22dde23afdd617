import subprocess
import sys

import pytest
from helpers import CONFIGS, DEMO, IMPORT_ROOT, run_tool, tiny_options
from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.runs.config import load_config
from memba_vision.runs.external_bases import PREFIX, find_base

PARTS = """_base_ = [
    'memba_vision::_base_/models/vim-mini_memba.py',
    'memba_vision::_base_/datasets/mini_vtab_48.py',
    'memba_vision::_base_/schedules/mini_vtab_20e.py',
]
task = 'digits'
model = dict(head=dict(num_classes=10))
train_dataloader = dict(dataset=dict(task=task))
test_dataloader = dict(dataset=dict(task=task))
"""


def settings(config: Config) -> dict:
    return {key: value for key, value in config.to_dict().items() if key != 'work_dir'}


@pytest.mark.parametrize(
    'text',
    [
        PARTS,
        "_base_ = 'memba_vision::demo/digits_memba.py'",
        "_base_ = 'memba_vision::demo/digits_memba'",
    ],
    ids=['parts', 'whole', 'without_ending'],
)
def test_a_config_elsewhere_is_the_same(tmp_path, text):
    path = tmp_path / 'mine.py'
    path.write_text(text)
    expected = settings(load_config(str(DEMO), {}, None))
    assert settings(load_config(str(path), {}, None)) == expected
    assert '_scope_' not in str(expected)


def test_it_trains(tmp_path, base, data_root):
    path = tmp_path / 'mine.py'
    path.write_text(PARTS)
    options = [f'{key}={value}' for key, value in tiny_options(base, data_root).items()]
    outcome = run_tool('train', path, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert outcome.status == 0
    assert (tmp_path / 'run' / 'result.json').is_file()


@pytest.mark.slow
def test_one_import_is_enough_for_mmengine(tmp_path):
    """From another folder, in a process that knows the package from its path alone."""
    (tmp_path / 'mine.py').write_text(PARTS)
    code = (
        f'import sys; sys.path.insert(0, {str(IMPORT_ROOT)!r}); import memba_vision; '
        "from mmengine.config import Config; print(Config.fromfile('mine.py').task)"
    )
    run = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == 'digits'


def test_a_base_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=rf'did you mean {PREFIX}demo/digits_memba\.py'):
        find_base('demo/digit_memba.py')
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{PREFIX}demo/digit_memba.py'")
    with pytest.raises(UserError, match=f'they are in {CONFIGS}'):
        load_config(str(path), {}, None)
