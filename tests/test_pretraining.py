"""From the config that pre-trains the demo's backbone to a file of weights that loads."""

from pathlib import Path

import pytest
from helpers import CONFIGS, run_tool

from memba_vision.engine.runner import ReadableRunner
from memba_vision.models import Vim
from memba_vision.runs.config import load_config
from memba_vision.runs.training import train
from memba_vision.weights import read_state_dict

CONFIG = CONFIGS / 'pretrain' / 'vim-mini_shapes.py'
SHORT = {
    'train_cfg.max_iters': 2,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'train_dataloader.dataset': dict(type='SourceShapes', num_batches=2, batch_size=4),
    'test_dataloader.dataset': dict(type='SourceShapes', num_batches=5, batch_size=1, seed=1),
    'test_dataloader.batch_size': 4,
    'param_scheduler': [],
    'default_hooks.checkpoint.interval': 2,
}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('pretraining')
    assert train(load_config(str(CONFIG), SHORT, str(folder))) is None
    return folder / 'iter_2.pth'


def test_exported_weights_load(checkpoint, tmp_path):
    out = tmp_path / 'backbone.safetensors'
    outcome = run_tool('export', checkpoint, out)
    assert outcome.status == 0
    model = Vim(
        dict(embed_dims=96, num_layers=6),
        img_size=48,
        patch_size=8,
        init_cfg=dict(type='Pretrained', checkpoint=str(out)),
    )
    model.init_weights()
    trained = read_state_dict(str(checkpoint), prefix='backbone.')
    assert trained.keys() == model.state_dict().keys()
    assert all((model.state_dict()[name] == value).all() for name, value in trained.items())


@pytest.mark.slow
@pytest.mark.parametrize('family', ['vim', 'vit', 'vmamba'])
def test_scenes_train_a_backbone(family, tmp_path):
    config = CONFIGS / 'pretrain' / f'{family}-mini-v2_scenes.py'
    short = {
        'train_cfg.max_iters': 2,
        'train_dataloader.dataset.batch_size': 4,
        'test_dataloader.dataset': dict(type='SourceScenes', num_batches=2, batch_size=5, seed=1),
        'param_scheduler': [],
        'default_hooks.checkpoint.interval': 2,
    }
    assert train(load_config(str(config), short, str(tmp_path))) is None
    assert read_state_dict(str(tmp_path / 'iter_2.pth'), prefix='backbone.')


def test_every_image_of_the_test_counts(checkpoint):
    config = load_config(str(CONFIG), SHORT, str(checkpoint.parent))
    runner = ReadableRunner.from_cfg(config)
    (metric,) = runner.test_loop.evaluator.metrics
    counted = []
    evaluate = metric.evaluate
    metric.evaluate = lambda size: counted.append(size) or evaluate(size)
    runner.test()
    assert counted == [5]


def test_it_has_no_accuracy_to_report(checkpoint):
    assert 'names no task' in run_tool('test', CONFIG, checkpoint).error()


def test_export_wants_safetensors(checkpoint):
    outcome = run_tool('export', checkpoint, 'backbone.pth')
    assert outcome.status == 2
    assert 'must end in .safetensors' in outcome.error()


def test_export_wants_a_whole_backbone(tmp_path, base):
    outcome = run_tool('export', base, tmp_path / 'out.safetensors')
    assert outcome.status == 2
    assert 'holds no whole backbone' in outcome.error()
