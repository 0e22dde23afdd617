"""The configs of transformers at their real size."""

import pytest
import torch
from helpers import CONFIGS
from mmengine.registry import init_default_scope

from memba_vision.models.parameter_counts import count_parameters
from memba_vision.models.peft.model import attach_adapters
from memba_vision.runs.config import load_config, preprocessor_settings
from memba_vision.zoo.model_size import build_without_weights

#: Parameters of the backbone, and of LoRA of rank 8 on queries and values.
SIZES = {
    'deit-small': (21_665_664, 12 * 2 * 8 * 2 * 384),
    'vit-base': (85_798_656, 12 * 2 * 8 * 2 * 768),
    'swin-tiny': (27_519_354, 2 * 8 * 2 * (2 * 96 + 2 * 192 + 6 * 384 + 2 * 768)),
    'swin-base': (86_743_224, 2 * 8 * 2 * (2 * 128 + 2 * 256 + 18 * 512 + 2 * 1024)),
}


@pytest.fixture(scope='module', params=SIZES)
def config(request):
    path = CONFIGS / 'vtab1k' / f'cifar100_{request.param}_lora-qv.py'
    return request.param, load_config(str(path), {}, 'unused')


def test_sizes(config):
    name, config = config
    init_default_scope('mmpretrain')
    backbone = build_without_weights(config)
    total = count_parameters(backbone)[1]
    with torch.device('meta'):
        attach_adapters(backbone, config.model.backbone.adapters)
    assert (total, count_parameters(backbone)[0]) == SIZES[name]


def test_the_recipe_is_that_of_papers_on_transformers(config):
    _, config = config
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-3, 1e-4)
    assert config.optim_wrapper.clip_grad is None
    assert (config.train_cfg.max_epochs, config.train_dataloader.batch_size) == (100, 64)
    warm_up, cosine = config.param_scheduler
    assert (warm_up.end, cosine.begin) == (10, 10)
    assert config.train_dataloader.dataset.split == 'train800val200'


def test_pixels_are_scaled_as_the_weights_want_them(config):
    name, config = config
    halves = name == 'vit-base'
    expected = [127.5, 127.5, 127.5] if halves else [123.675, 116.28, 103.53]
    assert preprocessor_settings(config)['mean'] == expected
