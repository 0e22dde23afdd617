import json
import shutil
from pathlib import Path

import pytest
from helpers import DEMO, as_arguments, make_task, run_tool, tiny_options

from memba_vision.runs.config_paths import absolute_paths
from memba_vision.runs.record import changes, read_config


def record(folder: Path) -> dict:
    return json.loads((folder / 'run.json').read_text())[-1]


@pytest.fixture
def work_in(tmp_path, base, monkeypatch):
    """A folder with data, base weights and a config, all named by relative paths."""
    make_task(tmp_path / 'data', 'digits', train=24, val=8, test=20)
    shutil.copy(base, tmp_path / 'base.safetensors')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*more: object, **options):
    options = tiny_options(Path('base.safetensors'), Path('data'), **options)
    return run_tool('train', DEMO, '--work-dir', 'run', *more, *as_arguments(options))


def test_its_paths_mean_the_same_from_anywhere(work_in, monkeypatch):
    assert train().status == 0
    assert train('--resume', **{'train_cfg.max_epochs': 2}).status == 0
    start = record(work_in / 'run')
    assert start['config_file'] == str(DEMO)
    assert start['resumed_from'] == str(work_in / 'run' / 'epoch_2.pth')
    config = start['config']
    assert config['work_dir'] == str(work_in / 'run')
    assert config['train_dataloader']['dataset']['data_root'] == str(work_in / 'data')
    monkeypatch.chdir('/')
    checkpoint = read_config(work_in / 'run').model.backbone.module.init_cfg.checkpoint
    assert checkpoint == str(work_in / 'base.safetensors')
    image = next((work_in / 'data').rglob('*.png'))
    outcome = run_tool('predict', image, '--checkpoint', work_in / 'run' / 'epoch_2.pth')
    assert outcome.status == 0, outcome


def test_what_is_no_path_stays():
    config = {
        'checkpoint': 'memba_vision://vim-mini.safetensors',
        'load_from': None,
        'pretrained': 'a-name-of-weights',
        'data_root': '/data/vtab-1k',
        'adapters': [{'type': 'LoRA', 'targets': ('in_proj',)}],
        'data_preprocessor': {'mean': [1.0]},
    }
    assert absolute_paths(config) == config
    assert absolute_paths({'data_root': '~/own'}) == {'data_root': str(Path.home() / 'own')}


def test_a_resumed_run_says_what_is_not_as_it_was(work_in):
    assert train().status == 0
    unchanged = train('--resume')
    assert 'Resumed, but' not in unchanged.out + unchanged.err
    listed = next((work_in / 'data').rglob('train800val200.txt'))
    lines = listed.read_text().splitlines(keepends=True)
    listed.write_text(''.join([*lines[1:], lines[0]]))
    changed = train('--resume')
    assert 'Resumed, but the train data in' in changed.out + changed.err
    assert 'list_sha256' in changed.out + changed.err


def test_what_an_earlier_run_in_the_folder_began_with_does_not_count(work_in):
    assert train().status == 0
    listed = next((work_in / 'data').rglob('train800val200.txt'))
    lines = listed.read_text().splitlines(keepends=True)
    listed.write_text(''.join([*lines[1:], lines[0]]))
    assert train().status == 0
    unchanged = train('--resume')
    assert 'Resumed, but' not in unchanged.out + unchanged.err
    listed.write_text(''.join(lines))
    changed = train('--resume')
    assert 'Resumed, but the train data in' in changed.out + changed.err


def test_a_run_is_compared_with_the_one_whose_checkpoint_it_goes_on_from(work_in):
    options = {'default_hooks.checkpoint.out_dir': 'files', 'default_hooks.checkpoint.interval': 1}
    assert train(**options).status == 0
    listed = next((work_in / 'data').rglob('train800val200.txt'))
    lines = listed.read_text().splitlines(keepends=True)
    listed.write_text(''.join([*lines[1:], lines[0]]))
    elsewhere = train('--work-dir', 'other', '--resume', 'files/run/epoch_2.pth')
    assert elsewhere.status == 0
    assert 'Resumed, but the train data in' in elsewhere.out + elsewhere.err


def test_another_base():
    before = {'data': {}, 'base_fingerprint': 'a'}
    assert changes(before, {'data': {}, 'base_fingerprint': 'a'}) == []
    (line,) = changes(before, {'data': {}, 'base_fingerprint': 'b'})
    assert line.startswith('the base weights are not')


def test_what_an_older_record_does_not_say_is_no_difference():
    data = {'train': {'images': 3, 'list_sha256': 'a'}}
    assert changes({}, {'data': data, 'base_fingerprint': 'b'}) == []
    assert (
        changes({'data': {'train': {'images': 3}}}, {'data': data, 'base_fingerprint': 'b'}) == []
    )


def test_a_random_frozen_base_is_said(work_in):
    key = 'model.backbone.module.init_cfg'
    options = tiny_options(Path('base.safetensors'), Path('data'))
    del options[f'{key}.checkpoint']
    text = 'The frozen backbone has random weights'
    outcome = run_tool('train', DEMO, '--work-dir', 'run', *as_arguments({**options, key: None}))
    assert outcome.status == 0
    assert text in outcome.out + outcome.err
    named = train()
    assert text not in named.out + named.err
