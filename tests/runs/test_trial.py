"""Settings that are tried, and validation in the place of the test."""

import json

import pytest
from helpers import DEMO, as_arguments, make_task, run_tool, tiny_options

from memba_vision.errors import UserError
from memba_vision.runs.config import load_config, method_name
from memba_vision.runs.method_names import method_without_settings, name_with_settings
from memba_vision.runs.tool_options import parse_options
from memba_vision.runs.trial import Trial

LR = 'optim_wrapper.optimizer.lr'
EPOCH = {'train_cfg.max_epochs': 1, 'param_scheduler.1.begin': 0}


def load(*tried: str, peft='lora', options=None, validate=False, path=DEMO):
    trial = Trial(parse_options(tried, '--try'), validate)
    return load_config(str(path), options or {}, None, peft=peft, trial=trial)


@pytest.mark.parametrize(
    ('peft', 'places'),
    [
        ('lora', ['adapters.0.scale']),
        ('memba', ['adapters.0.scale']),
        ('hybrid', [f'adapters.{place}.scale' for place in range(4)]),
        (None, ['scale']),  # the demo's own model has Memba's settings itself
    ],
)
def test_a_setting_of_every_adapter_that_has_it(peft, places):
    config, plain = load('scale=0.3', peft=peft), load(peft=peft)
    for place in places:
        plain.merge_from_dict({f'model.backbone.{place}': 0.3})
    assert config.model == plain.model
    assert config.tried == {'scale': 0.3}


def test_a_trial_names_the_run_and_comes_after_the_options():
    config = load(f'{LR}=1e-2', 'scale=2', options={LR: 5e-4}, validate=True)
    assert config.optim_wrapper.optimizer.lr == 0.01
    assert method_name(config) == 'lora_lr0.01_scale2'
    assert config.work_dir == 'work_dirs/digits_lora_lr0.01_scale2_val200'


def test_without_a_trial_nothing_is_different():
    config = load_config(str(DEMO), {}, None, peft='lora')
    assert load().to_dict() == config.to_dict()
    assert 'tried' not in config


@pytest.mark.parametrize(
    ('settings', 'name'),
    [
        ({}, 'lora'),
        ({LR: 0.003}, 'lora_lr0.003'),
        ({LR: 1e-05, 'model.backbone.adapters.0.rank': 4}, 'lora_lr1e-05_rank4'),
        ({'a.end': 1, 'b.end': None}, 'lora_a.end1_b.endNone'),
        ({'a.path': 'x/y z'}, 'lora_pathx-y-z'),
        ({'a.betas': [0.9, 0.99]}, 'lora_betas0.9-0.99'),
    ],
)
def test_names(settings, name):
    assert name_with_settings('lora', settings) == name
    assert method_without_settings(name, settings) == 'lora'


@pytest.mark.parametrize(
    ('peft', 'tried', 'expected'),
    [
        ('lora', 'optim_wrapper.optimizer.lrr=1', r'optimizer\.lrr; did you mean optim_wrapper\.'),
        ('lora', 'lr=1', r'lr cannot be tried: the config has no lr; did you mean optim_wrapper'),
        ('linear_probing', 'scale=1', 'scale cannot be tried: the config has no scale'),
        ('lora', 'train_cfg.by_epoch=often', 'by_epoch is True or False'),
    ],
)
def test_what_cannot_be_tried(peft, tried, expected):
    with pytest.raises(UserError, match=expected) as error:
        load(tried, peft=peft)
    assert 'cfg-options' not in str(error.value)
    assert '+=' not in str(error.value)


def test_no_test_data_are_left_in_a_validation():
    options = {'val_dataloader+': {'dataset': {'split': 'test'}}}
    config = load(validate=True, options=options)
    assert config.train_dataloader.dataset.split == 'train800'
    assert config.test_dataloader.dataset.split == 'val200'
    assert config.val_dataloader is None
    with pytest.raises(UserError, match='still reads the split test'):
        load(validate=True, options={'custom_hooks+': [{'type': 'X', 'split': 'test'}]})


def test_a_validation_is_no_test(base, tmp_path):
    """It has other images and another name, and no test takes its place."""
    task = make_task(tmp_path / 'data', 'digits', train=24, val=8, test=20)
    (task / 'images' / 'test').rename(tmp_path / 'hidden')  # it must not even look at them
    options = as_arguments(tiny_options(base, tmp_path / 'data', **EPOCH))
    folder = tmp_path / 'validation'
    arguments = [DEMO, '--work-dir', folder]
    outcome = run_tool('train', *arguments, '--validate', '--try', f'{LR}=0.02', *options)
    assert outcome.status == 0, outcome
    result = json.loads((folder / 'result.json').read_text())
    assert (result['split'], result['test_images'], result['settings']) == ('val200', 8, {LR: 0.02})
    assert result['method'] == 'memba_lr0.02'
    assert 'top1' not in result
    data = json.loads((folder / 'run.json').read_text())[0]['data']
    assert (data['train']['images'], data['test']['images']) == (24, 8)
    (tmp_path / 'hidden').rename(task / 'images' / 'test')
    error = run_tool('test', *arguments, *options).error()
    assert 'is a result on val200, by which settings are chosen' in error
    elsewhere = [DEMO, folder / 'epoch_1.pth', '--work-dir', tmp_path / 'test']
    for _ in range(2):
        assert run_tool('test', *elsewhere, *options).status == 0
        text = (tmp_path / 'test' / 'result.json').read_text()
        (tmp_path / 'test' / 'result.json').write_text(text[:50])  # a damaged one is replaced
    assert json.loads(text)['split'] == 'test'
