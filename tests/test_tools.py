"""Bad input: one line that says what to do, exit status 2, no traceback, nothing lost."""

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import (
    CONFIGS,
    DEMO,
    EACH_EPOCH,
    IMPORT_ROOT,
    TOOLS,
    Outcome,
    as_arguments,
    make_task,
    run_tool,
    tiny_options,
)

LORA = CONFIGS / 'demo' / 'digits_lora.py'
RANK = {'model.backbone.rank': 2}


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(scope='module')
def options(base, data_root) -> dict:
    return tiny_options(base, data_root, **EACH_EPOCH)


@pytest.fixture(scope='module')
def trained(options, tmp_path_factory) -> Path:
    """The folder of a run; not to be changed."""
    work_dir = tmp_path_factory.mktemp('trained')
    outcome = run_tool('train', DEMO, '--work-dir', work_dir, *as_arguments(options))
    assert outcome.status == 0, outcome
    return work_dir


@pytest.fixture
def train(options, tmp_path):
    """Call tools/train.py with changed options."""

    def call(*arguments: object, config: Path = DEMO, **changes: object) -> Outcome:
        changes = {key.replace('__', '.'): value for key, value in changes.items()}
        changed = as_arguments({**options, **changes})
        return run_tool('train', config, '--work-dir', tmp_path / 'work', *arguments, *changed)

    return call


@pytest.fixture
def measure(options, tmp_path):
    """Call tools/test.py with changed options."""

    def call(*arguments: object, **changes: object) -> Outcome:
        changes = {key.replace('__', '.'): value for key, value in changes.items()}
        changed = as_arguments({**options, **changes})
        return run_tool('test', *arguments, '--work-dir', tmp_path / 'work', *changed)

    return call


def lora_options(base: Path, data_root: Path) -> dict:
    options = tiny_options(base, data_root)
    del options['model.backbone.rank']
    return options


# Configs and options


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_missing_config(tool):
    error = run_tool(tool, 'configs/nothing.py').error()
    assert 'no config at configs/nothing.py' in error


@pytest.mark.parametrize(
    'text',
    ['task = (', "_base_ = './nothing.py'", 'x = 1 / 0', 'x = {{y.z}}'],
    ids=['syntax', 'base', 'exception', 'variable'],
)
def test_config_that_cannot_be_read(tmp_path, text):
    config = tmp_path / 'bad.py'
    config.write_text(text)
    assert f'config {config} cannot be read' in run_tool('train', config).error()


def test_config_that_is_no_text(tmp_path):
    config = tmp_path / 'bad.py'
    config.write_bytes(b'\xff\x00')
    assert 'cannot be read' in run_tool('train', config).error()


def test_config_without_a_model(tmp_path):
    config = tmp_path / 'empty.py'
    config.write_text("custom_imports = dict(imports=['memba_vision'])\n")
    error = run_tool('train', config, '--work-dir', tmp_path / 'work').error()
    assert 'model' in error


@pytest.mark.parametrize('key', ['param_scheduler.7.end', 'task.name.x', 'param_scheduler.x'])
def test_option_that_does_not_fit(train, key):
    assert '--cfg-options' in train(**{key: 1}).error()


def test_unknown_option_of_a_tool():
    outcome = run_tool('train', DEMO, '--rounds', '3')
    assert outcome.status == 2
    assert 'unrecognized arguments: --rounds 3' in outcome.err


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('model.backbone.module.type', 'Vmi', 'Vmi is not in the'),
        ('model.backbone.type', 'MembaModle', 'MembaModle is not in the'),
        ('model.head.type', 'NoHead', 'NoHead is not in the'),
        ('train_dataloader.dataset.type', 'VTAB', 'VTAB is not in the'),
        ('test_dataloader.dataset.type', 'VTAB', 'VTAB is not in the'),
        ('train_dataloader.sampler.type', 'Sampler9', 'Sampler9 is not in the'),
        ('optim_wrapper.optimizer.type', 'AdamV', 'AdamV is not in the'),
        ('optim_wrapper.constructor', 'Ctor9', 'Ctor9 is not in the'),
        ('param_scheduler.0.type', 'LinearRate', 'LinearRate is not in the'),
        ('test_evaluator.type', 'Precise', 'Precise is not in the'),
        ('default_hooks.timer.type', 'Timer9', 'Timer9 is not in the'),
    ],
)
def test_misspelt_type(train, key, value, expected):
    assert expected in train(**{key: value}).error()


@pytest.mark.parametrize(
    'section',
    [
        'model',
        'model.backbone',
        'model.backbone.module',
        'model.head',
        'train_dataloader',
        'train_dataloader.dataset',
        'train_cfg',
        'optim_wrapper',
        'optim_wrapper.optimizer',
        'param_scheduler.1',
        'test_dataloader.dataset',
        'test_evaluator',
        'default_hooks.logger',
    ],
)
def test_unexpected_setting(train, section):
    error = train(**{f'{section}.bogus': 1}).error()
    assert 'bogus' in error


def test_misspelt_transform(train, tmp_path):
    config = tmp_path / 'digits_memba.py'
    pipeline = "train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImage9')]))"
    config.write_text(f'_base_ = {str(DEMO)!r}\n{pipeline}\n')
    assert 'LoadImage9 is not in the' in train(config=config).error()


def test_schedule_that_outlasts_the_training(train):
    changes = {'param_scheduler.1.begin': 5}
    assert 'param_scheduler' in train(**changes).error()


# The data


@pytest.mark.parametrize('task', ['digit', 'mnist'])
def test_unknown_task(train, task):
    error = train(train_dataloader__dataset__task=task).error()
    assert f"unknown task '{task}'" in error
    assert 'sprites_orientation' in error


def test_missing_data_root():
    """The one with the words for VTAB-1k itself; Vim-S is too large to be built for it."""
    options = {
        'model.backbone.module.init_cfg.checkpoint': None,
        'model.backbone.module.arch': 'tiny',
        'model.backbone.module.img_size': 32,
        'train_dataloader.dataset.data_root': '/nowhere',
    }
    config = CONFIGS / 'vtab1k' / 'cifar100_memba.py'
    error = run_tool('train', config, '--work-dir', '/tmp/x', *as_arguments(options)).error()
    assert re.search(r'no data at /nowhere: download vtab-1k\.zip .*gdown', error)


def broken_digits(root: Path, *, split: str) -> Path:
    folder = make_task(root, 'digits', train=24, val=8, test=20)
    image = folder / 'images' / split / '005.jpg'
    image.write_bytes(image.read_bytes()[:200])
    return image


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('split', ['train800', 'test'])
def test_image_that_does_not_decode(train, tmp_path, split, workers):
    image = broken_digits(tmp_path, split=split)
    changes = {
        f'{part}_dataloader.{key}': value
        for part in ('train', 'test')
        for key, value in {'dataset.data_root': tmp_path, 'num_workers': workers}.items()
    }
    error = train(**changes).error()
    assert f'cannot read image {image}' in error
    assert error.count('\n') == 0
    assert error.endswith('replace the file by an intact copy')


def test_missing_image_is_found_before_the_first_step(train, tmp_path):
    folder = make_task(tmp_path, 'digits', train=24, val=8, test=20)
    (folder / 'images/train800/023.jpg').unlink()
    outcome = train(train_dataloader__dataset__data_root=tmp_path)
    assert 'images/train800/023.jpg' in outcome.error()
    assert 'Checkpoints will be saved' not in outcome.out


def test_missing_test_data_is_found_before_the_first_step(train, tmp_path):
    folder = make_task(tmp_path, 'digits', train=24, val=8, test=20)
    (folder / 'images/test/003.jpg').unlink()
    outcome = train(test_dataloader__dataset__data_root=tmp_path)
    assert 'images/test/003.jpg' in outcome.error()
    assert not list((tmp_path / 'work').glob('*.pth'))


# The method


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'num_chunks': 0}, 'num_chunks'),
        ({'num_chunks': -1}, 'num_chunks'),
        ({'leak': 0}, 'leak'),
        ({'leak': 1.5}, 'leak'),
        ({'site': 'nowhere'}, "unknown site 'nowhere'; known are lora, gate"),
        ({'rank': 0}, 'rank must be at least 1'),
        ({'drop_rate': 1.5}, 'drop_rate'),
        ({'targets': '[in_proj,qkv]'}, "target 'qkv' matches no Linear.*possible.*out_proj"),
        ({'targets': 'in_proj'}, 'targets must be a list'),
        ({'targets': '[out_proj]'}, "site 'lora'.*in_proj"),
        ({'module.arch': 'huge'}, 'unknown arch'),
    ],
    ids=str,
)
def test_method_settings(train, changes, expected):
    error = train(**{f'model.backbone.{key}': value for key, value in changes.items()}).error()
    assert re.search(expected, error)


def test_unknown_adapter_lists_the_known_ones(base, data_root, tmp_path):
    options = lora_options(base, data_root) | {'model.backbone.adapters.0.type': 'LoRa'}
    outcome = run_tool('train', LORA, '--work-dir', tmp_path, *as_arguments(options))
    assert re.search(r"unknown adapter 'LoRa'; known are .*LIM.*LoRA", outcome.error())


# Weights and checkpoints


def test_missing_base_weights(train, tmp_path):
    key = 'model.backbone.module.init_cfg.checkpoint'
    assert f'no checkpoint at {tmp_path}/no.pth' in train(**{key: tmp_path / 'no.pth'}).error()


def test_base_weights_of_another_size(train):
    assert 'does not fit Vim: ' in train(model__backbone__module__arch__embed_dims=32).error()


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_truncated_base_weights(train, base, tmp_path, suffix):
    path = tmp_path / f'base.{suffix}'
    path.write_bytes(base.read_bytes()[:-50])
    error = train(**{'model.backbone.module.init_cfg.checkpoint': path}).error()
    assert str(path) in error
    assert 'is truncated or not a checkpoint' in error


def test_no_checkpoint_to_test(measure, tmp_path):
    assert f'no checkpoint in {tmp_path}/work: train first' in measure(DEMO).error()


def test_a_folder_in_the_place_of_the_table(measure, tmp_path):
    folder = tmp_path / 'table.md'
    folder.mkdir()
    # Found before the missing checkpoint.
    assert f'{folder} is a folder: name a file' in measure(DEMO, '--out', folder).error()


def test_missing_checkpoint(measure, train, tmp_path):
    path = tmp_path / 'no.pth'
    assert f'no checkpoint at {path}' in measure(DEMO, path).error()
    assert f'no checkpoint at {path}' in train('--resume', path).error()


@pytest.mark.parametrize('part', [0, 0.5, 0.99])
def test_truncated_checkpoint(measure, train, trained, tmp_path, part):
    path = Path(shutil.copy(trained / 'epoch_2.pth', tmp_path))
    os.truncate(path, int(part * path.stat().st_size))
    for outcome in (measure(DEMO, path), train('--resume', path)):
        assert str(path) in outcome.error()
        assert 'is truncated or not a checkpoint' in outcome.error()


def test_checkpoint_of_another_base(measure, train, trained, other_base):
    change = {'model.backbone.module.init_cfg.checkpoint': other_base}
    for outcome in (
        measure(DEMO, trained / 'epoch_2.pth', **change),
        train('--resume', trained / 'epoch_2.pth', **change),
    ):
        assert 'was trained over another base' in outcome.error()
        assert str(trained / 'epoch_2.pth') in outcome.error()


@pytest.mark.parametrize('change', [{'rank': 4}, {'leak': 0.5}, {'site': 'gate'}], ids=str)
def test_checkpoint_of_other_adapters(measure, trained, change):
    changes = {f'model.backbone.{key}': value for key, value in change.items()}
    error = measure(DEMO, trained / 'epoch_2.pth', **changes).error()
    assert 'is of other adapters' in error


def test_checkpoint_of_another_head(measure, trained):
    error = measure(DEMO, trained / 'epoch_2.pth', model__head__num_classes=16).error()
    assert 'the head has 16 outputs' in error


def test_base_weights_given_as_a_checkpoint(measure, train, base):
    for outcome in (measure(DEMO, base), train('--resume', base)):
        assert f'{base} was not written by tools/train.py' in outcome.error()


def test_checkpoint_without_the_state_of_the_training(train, trained, tmp_path):
    checkpoint = torch.load(trained / 'epoch_2.pth', weights_only=True)
    del checkpoint['message_hub']
    torch.save(checkpoint, tmp_path / 'bare.pth')
    error = train('--resume', tmp_path / 'bare.pth').error()
    assert "bare.pth holds no 'message_hub'" in error


@pytest.mark.parametrize(
    ('suffix', 'legacy'), [('pth', False), ('pth', True), ('safetensors', False)]
)
def test_pickled_code_is_never_run(measure, train, trained, tmp_path, legacy, suffix):
    canary = tmp_path / 'canary'
    path = tmp_path / f'evil.{suffix}'
    checkpoint = torch.load(trained / 'epoch_2.pth', weights_only=True)
    torch.save(
        {**checkpoint, 'evil': Canary(canary)}, path, _use_new_zipfile_serialization=not legacy
    )
    for outcome in (
        measure(DEMO, path),
        train('--resume', path),
        train(**{'model.backbone.module.init_cfg.checkpoint': path}),
    ):
        assert str(path) in outcome.error()
        if suffix == 'pth':
            assert 'holds pickled Python objects' in outcome.error()
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))
    assert canary.exists(), 'the canary cannot sing'


def test_pickled_code_in_the_work_dir_is_passed_over(measure, trained, tmp_path):
    work_dir = shutil.copytree(trained, tmp_path / 'work')
    torch.save({'evil': Canary(tmp_path / 'canary')}, work_dir / 'epoch_9.pth')
    outcome = measure(DEMO)
    assert outcome.status == 0
    assert 'holds pickled Python objects' in outcome.out
    assert f'Loaded {work_dir / "epoch_2.pth"}' in outcome.out
    assert not (tmp_path / 'canary').exists()


# Training that goes wrong


def test_a_loss_that_is_not_finite_stops_the_run(train, measure, trained, tmp_path):
    work_dir = shutil.copytree(trained, tmp_path / 'work')
    (work_dir / 'epoch_2.pth').unlink()
    error = train('--resume', data_preprocessor__std='[1e-38,1e-38,1e-38]').error()
    assert re.search(r'the loss is (nan|inf) at step 5 \(epoch 2, batch 1\)', error)
    assert '--resume' in error
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_1.pth'}
    assert measure(DEMO).status == 0


def test_weights_that_explode_stop_the_run(train):
    error = train(optim_wrapper__optimizer__lr=1e30, param_scheduler__0__start_factor=1.0).error()
    assert re.search(r'(the loss is (nan|inf) at step \d+|is not finite after step \d+)', error)


# The command line


@pytest.mark.parametrize('out', ['table', 'table.txt', 'table.MD'])
def test_ending_of_the_table_is_checked_first(measure, out):
    assert 'must end in .md, .csv or .json' in measure(DEMO, '--out', out).error()


@pytest.mark.parametrize('arguments', [[DEMO, 'a.pth', 'b.pth'], [DEMO, LORA, 'a.pth']])
def test_arguments_of_test(measure, arguments):
    assert 'expected CONFIG [RUN], or several configs' in measure(*arguments).error()


def test_a_shipped_config_by_its_name_is_no_checkpoint(tmp_path):
    error = run_tool('test', 'demo/digits_memba', '--work-dir', tmp_path).error()
    assert error.startswith(f'error: no checkpoint in {tmp_path}')


def test_a_work_dir_for_several_configs(measure):
    assert '--work-dir goes with a single config' in measure(DEMO, LORA).error()


def test_processes_that_no_launcher_started(train, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    error = train('--launcher', 'pytorch').error()
    assert '--launcher pytorch: the environment lacks MASTER_ADDR' in error
    assert 'torchrun' in error


@pytest.mark.slow
def test_exit_status_of_the_command():
    run = subprocess.run(
        [sys.executable, TOOLS / 'train.py', 'nothing.py'],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(IMPORT_ROOT)},
    )
    assert run.returncode == 2
    assert run.stderr == (
        'error: no config at nothing.py: give a file such as configs/demo/digits_memba.py\n'
    )
    assert run.stdout == ''
