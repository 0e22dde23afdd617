"""Pipelines that follow the backbone's size."""

import numpy as np
import pytest
import torch
from helpers import DEMO
from mmcv.transforms import Compose
from mmengine.config import Config
from mmpretrain.registry import TRANSFORMS

import memba_vision
from memba_vision.errors import UserError
from memba_vision.runs.config import load_config
from memba_vision.runs.image_size import following_image_size, image_size
from memba_vision.serving.deploy import describe

SIZE = 'model.backbone.module.img_size'
LOADERS = ('train_dataloader', 'test_dataloader')
STEPS = {
    'CenterCrop': dict(crop_size=224),
    'EfficientNetCenterCrop': dict(crop_size=224),
    'EfficientNetRandomCrop': dict(scale=224),
    'RandomCrop': dict(crop_size=(224, 224), padding=4),
    'RandomResizedCrop': dict(scale=224, crop_ratio_range=(0.1, 1.0)),
    'Resize': dict(scale=(224, 224), backend='pillow'),
    'ResizeEdge': dict(scale=256, edge='short'),
}


def sized(size, pipeline):
    """A config whose pipeline lies in a wrapped dataset."""
    dataset = dict(type='RepeatDataset', times=2, dataset=dict(type='Any', pipeline=pipeline))
    backbone = dict(type='Vim', img_size=size)
    return Config(dict(model=dict(backbone=backbone), train_dataloader=dict(dataset=dataset)))


def followed(step, old, new):
    config = sized(old, [dict(type='PackInputs'), step])
    with following_image_size(config):
        config.model.backbone.img_size = new
    packed, found = config.train_dataloader.dataset.dataset.pipeline
    assert packed == dict(type='PackInputs')
    return found


@pytest.mark.parametrize('size', [64, (64, 48), [32, 80]], ids=str)
def test_pipelines_follow_an_option(size):
    config = load_config(str(DEMO), {SIZE: size}, None)
    height, width = image_size(config)
    for loader in LOADERS:
        pipeline = config[loader].dataset.pipeline
        assert pipeline[1].scale == (width, height)
        steps = Compose([TRANSFORMS.build(step) for step in pipeline[1:]])
        packed = steps(dict(img=np.zeros((50, 60, 3), np.uint8), sample_idx=0, img_path=''))
        assert packed['inputs'].shape == (3, height, width)


@pytest.mark.parametrize('side', [48, 65])
def test_a_pipeline_that_an_option_sets_is_taken_at_its_word(side):
    """Where it is as large as before, too."""
    place = 'test_dataloader.dataset.pipeline.1.scale'
    config = load_config(str(DEMO), {place: (side, side), SIZE: 64}, None)
    assert config.test_dataloader.dataset.pipeline[1].scale == (side, side)
    assert config.train_dataloader.dataset.pipeline[1].scale == (64, 64)


def test_without_the_option_pipelines_stay():
    config = load_config(str(DEMO), {'model.backbone.rank': 3, SIZE: 48}, None)
    assert [config[loader].dataset.pipeline[1].scale for loader in LOADERS] == [(48, 48)] * 2


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('CenterCrop', dict(crop_size=448)),
        ('EfficientNetCenterCrop', dict(crop_size=448)),
        ('EfficientNetRandomCrop', dict(scale=448)),
        ('RandomCrop', dict(crop_size=(448, 448), padding=4)),
        ('RandomResizedCrop', dict(scale=448, crop_ratio_range=(0.1, 1.0))),
        ('Resize', dict(scale=(448, 448), backend='pillow')),
        ('ResizeEdge', dict(scale=512, edge='short')),
    ],
)
def test_every_step_that_says_a_size_follows(kind, expected):
    assert followed(dict(type=kind, **STEPS[kind]), 224, 448) == dict(type=kind, **expected)


@pytest.mark.parametrize(
    ('kind', 'setting', 'expected'),
    [
        ('CenterCrop', 'crop_size', (112, 336)),  # width first
        ('RandomCrop', 'crop_size', (336, 112)),  # height first
        ('RandomResizedCrop', 'scale', (336, 112)),
        ('Resize', 'scale', (112, 336)),
        ('ResizeEdge', 'scale', 384),
    ],
)
def test_height_and_width_follow_each_for_itself(kind, setting, expected):
    found = followed(dict(type=kind, **STEPS[kind]), 224, (336, 112))
    assert found[setting] == expected


@pytest.mark.parametrize('kind', [kind for kind in STEPS if 'EfficientNet' not in kind])
def test_the_order_of_height_and_width_is_that_of_the_step(kind):
    """What comes out of the real steps has the size that the backbone takes."""
    size = (40, 24)
    step = followed(dict(type=kind, **STEPS[kind]), 224, size)
    image = np.zeros((64, 64, 3), np.uint8)
    found = TRANSFORMS.build(step)(dict(img=image))['img'].shape[:2]
    assert found == ((46, 46) if kind == 'ResizeEdge' else size)


def test_a_pipeline_that_loaders_share_follows_once():
    step = dict(type='Resize', scale=(224, 224))
    config = sized(224, [step])
    config.val_dataloader = config.train_dataloader
    with following_image_size(config):
        config.model.backbone.img_size = 448
    for loader in (config.train_dataloader, config.val_dataloader):
        assert loader.dataset.dataset.pipeline[0].scale == (448, 448)


def test_a_size_that_is_none_is_left_to_the_backbone():
    config = load_config(str(DEMO), {SIZE: 'large'}, None)
    assert config.test_dataloader.dataset.pipeline[1].scale == (48, 48)
    with pytest.raises(UserError, match=r"img_size must be a positive whole number, .* 'large'"):
        memba_vision.get_model('vim_mini', img_size='large')


def test_a_model_by_name_takes_rectangles():
    settings = dict(arch=dict(embed_dims=16, num_layers=2), img_size=(64, 48))
    model = memba_vision.get_model('vim_mini', out_type='featmap', **settings)
    features = memba_vision.extract_features(model, np.zeros((50, 60, 3), np.uint8))
    assert features.shape == (1, 16, 8, 6)
    assert describe(model)['size'] == [48, 64]  # width first
    memba = memba_vision.get_model('vim_mini_memba', num_classes=3, **settings)
    assert memba(torch.zeros(1, 3, 64, 48))[0].shape == (3,)
