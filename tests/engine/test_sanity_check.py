import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import DEMO, forget_runs, run_tool, tiny_options
from mmengine.config import Config

from memba_vision.engine.runner import ReadableRunner
from memba_vision.engine.sanity_check import SanityCheckHook, _preserving_state
from memba_vision.errors import UserError
from memba_vision.runs.config import load_config
from memba_vision.runs.testing import test as run_test
from memba_vision.runs.training import train
from memba_vision.sweeps.jobs import Options, make_jobs

NORM = {'type': 'ClsBatchNormNeck', 'input_features': 16}


@pytest.fixture
def make_config(base, data_root, tmp_path):
    def make(**options) -> Config:
        forget_runs()
        options = {key.replace('__', '.'): value for key, value in options.items()}
        known = tiny_options(base, data_root)
        if 'model.neck' in options:
            known.pop('model.neck.input_features')
            options['model.neck'] = {'_delete_': True, **options['model.neck']}
        return load_config(str(DEMO), {**known, **options}, str(tmp_path / 'run'))

    return make


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(test_evaluator__topk=(1, 11)), r'test_evaluator\.topk=\(1,\)'),
        (
            dict(test_evaluator={'_delete_': True, 'type': 'SingleLabelMetric'}),
            'single-label/precision.* but not accuracy/top1',
        ),
        (dict(test_evaluator__topk=(5,)), 'measures accuracy/top5, but not accuracy/top1'),
        (
            dict(train_dataloader__batch_size=500, train_dataloader__drop_last=True),
            'no batch of 32 images: set train_dataloader.batch_size',
        ),
        (
            dict(test_dataloader__drop_last=True, test_dataloader__batch_size=8),
            'leaves out 4 of 20',
        ),
        (dict(model__head__num_classes=12), r'12 outputs, .* set model\.head\.num_classes=10'),
        (dict(model__head__num_classes=3), r'3 outputs, .* set model\.head\.num_classes=10'),
        (
            dict(model__neck=NORM, train_dataloader__batch_size=1),
            r'BatchNorm cannot train on one image.*train_dataloader\.drop_last=True',
        ),
        # The last batch of 32 images.
        (
            dict(model__neck=NORM, train_dataloader__batch_size=31),
            'a BatchNorm cannot train on one',
        ),
        (
            dict(train_dataloader__dataset__pipeline__1__scale=(64, 64)),
            'resize them .*or set img_size',
        ),
        (
            dict(custom_hooks=[dict(type='EMAHook', begin_epoch=9)]),
            'a hook: AssertionError: self.begin_epoch should be smaller',
        ),
    ],
    ids=str,
)
def test_what_would_end_a_run_is_said_before_its_first_step(make_config, options, message):
    config = make_config(**options)
    with pytest.raises(UserError, match=message):
        train(config)
    assert not list(Path(config.work_dir).glob('*.pth'))


def test_the_training_data_of_another_task(make_config):
    config = make_config()
    config.task = 'sprites_location'  # as a config may say
    with pytest.raises(UserError, match=r"task is 'sprites_location', but .* 'digits'"):
        train(config)


def test_the_test_data_of_another_task(make_config, data_root, tmp_path):
    for name in ('one', 'two'):
        folder = shutil.copytree(data_root / 'digits', tmp_path / 'own' / name)
        (folder / 'classes.txt').write_text(''.join(f'digit {label}\n' for label in range(10)))
    own = dict(type='OwnData', data_root=str(tmp_path / 'own'))
    loaders = {'train_dataloader.dataset': {**own, 'task': 'one'}}
    config = make_config(task='one', **loaders, test_dataloader__dataset={**own, 'task': 'one'})
    config.test_dataloader.dataset.task = 'two'
    message = "task is 'one', but the data of test_dataloader are of 'two'"
    with pytest.raises(UserError, match=message):
        train(config)


def validated(config: Config) -> Config:
    """The config, its test in the place of a validation."""
    for part in ('dataloader', 'evaluator', 'cfg'):
        config[f'val_{part}'] = config[f'test_{part}']
        config[f'test_{part}'] = None
    return config


def test_the_metrics_of_a_validation(make_config):
    config = validated(make_config(test_evaluator__topk=(1, 11)))
    with pytest.raises(UserError, match=r'val_evaluator\.topk=\(1,\)'):
        train(config)


@pytest.mark.parametrize(
    'make_options',
    [
        lambda name: {'default_hooks.checkpoint.save_best': name},
        lambda name: {'custom_hooks': [dict(type='EarlyStoppingHook', monitor=name)]},
    ],
    ids=['save_best', 'early stopping'],
)
def test_a_metric_that_a_hook_goes_by(make_config, make_options):
    with pytest.raises(UserError, match='goes by accuracy/top5, but val_evaluator measures accur'):
        train(validated(make_config(**make_options('accuracy/top5'))))
    assert train(validated(make_config(**make_options('accuracy/top1')))) is None


@pytest.mark.parametrize(
    'options',
    [
        {'model.train_cfg': {'augments': [{'type': 'Mixup', 'alpha': 0.8}]}},
        {'model.train_cfg': {'augments': [{'type': 'CutMix', 'alpha': 1.0}]}},
        {'model.neck': NORM, 'train_dataloader.batch_size': 31, 'train_dataloader.drop_last': True},
        {'train_dataloader.persistent_workers': True, 'train_dataloader.prefetch_factor': 2},
    ],
    ids=['mixup', 'cutmix', 'batch_norm', 'no_workers'],
)
def test_what_works(make_config, options):
    result = train(make_config(**options, train_cfg__max_epochs=2))
    assert 0 <= result.top1 <= 100


def test_a_test_of_other_metrics(make_config):
    config = make_config()
    train(config)
    config.test_evaluator.topk = (1, 11)
    with pytest.raises(UserError, match=r'test_evaluator\.topk=\(1,\)'):
        run_test(config)
    config.test_evaluator = dict(type='SingleLabelMetric')
    with pytest.raises(UserError, match='but not accuracy/top1'):
        run_test(config)
    config.test_evaluator = [config.test_evaluator, dict(type='Accuracy', topk=(1, 5))]
    assert run_test(config).test_images == 20


def test_a_config_without_a_test(make_config):
    nothing = dict.fromkeys(('test_dataloader', 'test_cfg', 'test_evaluator'))
    config = make_config()
    config.update(nothing)
    assert train(config) is None
    assert Path(config.work_dir, 'epoch_2.pth').is_file()
    assert 'There is no result: the config has no test_dataloader' in _log(config)
    with pytest.raises(UserError, match='has no test_dataloader, so there is nothing to test on'):
        run_test(config)


def test_a_config_that_is_no_file(make_config):
    config = Config(make_config().to_dict())
    assert train(config).method == 'config'
    (start,) = json.loads(Path(config.work_dir, 'run.json').read_text())
    assert start['config_file'] is None


def test_a_sweep_needs_a_test(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'memba_vision::demo/digits_memba.py'\ntest_dataloader = None\n")
    with pytest.raises(UserError, match='has no test_dataloader, so there is no accuracy'):
        make_jobs([str(path)], [], [0], tmp_path, Options())


@pytest.mark.parametrize(
    ('compilation', 'message'),
    [
        ('True', 'compile takes minutes on a CPU'),
        ('{}', 'compile takes minutes on a CPU'),
        ('inductor', "compile is True, False or the arguments of torch.compile, got 'inductor'"),
    ],
)
def test_compilation_that_takes_minutes(tmp_path, monkeypatch, compilation, message):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    options = ['--work-dir', tmp_path, '--cfg-options', f'compile={compilation}']
    assert message in run_tool('train', DEMO, *options).error()


def test_the_training_is_the_same_to_the_last_bit(make_config):
    """With everything random, and without the seeds that an epoch begins with."""

    def weights(is_checked: bool) -> dict[str, torch.Tensor]:
        config = make_config(
            **{'model.neck': NORM, 'model.backbone.module.drop_path_rate': 0.5},
            model__train_cfg={'augments': [{'type': 'Mixup', 'alpha': 0.8}]},
        )
        config.default_hooks.pop('epoch_seed')
        pipeline = config.train_dataloader.dataset.pipeline
        pipeline.insert(2, dict(type='RandomFlip', prob=0.5))
        pipeline.insert(3, dict(type='RandomErasing', erase_prob=0.5, mode='rand'))
        runner = ReadableRunner.from_cfg(config)
        if is_checked:
            runner.register_hook(SanityCheckHook({}))
        return runner.train().state_dict()

    plain, checked = weights(False), weights(True)
    assert plain.keys() == checked.keys()
    assert all(torch.equal(plain[name], checked[name]) for name in plain)
    assert plain['neck.bn.running_mean'].abs().sum() > 0


def test_modes_and_buffers_come_back_after_an_error_too():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Dropout())
    model[0].eval()
    with pytest.raises(ZeroDivisionError), _preserving_state(model):
        model.train()(torch.randn(5, 3))
        raise ZeroDivisionError
    assert [module.training for module in model.modules()] == [True, False, True]
    assert model[0].num_batches_tracked == 0
    assert model[0].running_mean.eq(0).all()


def _log(config: Config) -> str:
    return ''.join(path.read_text() for path in Path(config.work_dir).rglob('*.log'))
