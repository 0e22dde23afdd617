"""Membranes of backbones in stages, and of those without a gate."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from small_families import MODELS

import memba_vision
from memba_vision.errors import UserError
from memba_vision.models import PEFTModel
from memba_vision.serving.app import describe
from memba_vision.serving.images import ImagePipeline
from memba_vision.serving.visualize import Subject, check_membranes, trace_image, write_page
from memba_vision.visualization.maps import block_grids

PAIRS = [
    ('vim_small', 'memba'),
    ('mamba_reg_small', 'memba'),
    ('vmamba_v0_tiny', 'memba'),
    ('vmamba_v0_tiny', 'memba_gate'),
    ('vmamba_tiny_s1l8', 'memba_hidden'),
]


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    return str(tmp_path / 'image.png')


def make_subject(name, method, **settings):
    torch.manual_seed(0)
    settings = dict(MODELS[name], num_classes=3, **settings)
    model = memba_vision.get_model(f'{name}_{method}', **settings)
    for parameter in model.backbone.adapter_parameters().values():
        torch.nn.init.normal_(parameter, std=0.3)
    pipeline = ImagePipeline(model._config)
    return Subject(f'{name} {method}', model, model.data_preprocessor, pipeline, list('abc'))


@pytest.mark.parametrize(('name', 'method'), PAIRS)
def test_every_block_is_put_on_the_image(name, method, image):
    subject = make_subject(name, method)
    trace = trace_image(subject, image)
    sizes = block_grids(subject.backbone)
    assert len(trace.layers) == len(trace.grids) == len(sizes)
    for layer, grid in zip(trace.layers, trace.grids, strict=True):
        assert layer.potential.shape == (2, grid.length)
        assert grid.to_maps(layer.potential).shape == (2, *grid.patches.shape)


@pytest.mark.slow
def test_images_of_another_size_than_the_backbone_was_built_for(image, tmp_path):
    for name, method, settings in (
        ('vmamba_v0_tiny', 'memba', {}),
        ('vim_small', 'memba', dict(dynamic_img_size=True)),
    ):
        subject = make_subject(name, method, **settings)
        subject.model._config.test_dataloader.dataset.pipeline[1]['scale'] = (64, 48)
        pipeline = ImagePipeline(subject.model._config)
        subject = dataclasses.replace(subject, pipeline=pipeline)
        trace = trace_image(subject, image)
        assert trace.pixels.shape == (48, 64, 3)
        for layer, grid in zip(trace.layers, trace.grids, strict=True):
            assert layer.potential.shape == (2, grid.length)
            rows, columns = grid.patches.shape
            assert 3 * columns == 4 * rows and grid.extent[:3] == (0, 64, 48)
        write_page([subject], [image], (), tmp_path / name)


@pytest.mark.parametrize(
    'pair',
    [
        ('mamba_vision_tiny', 'memba_hidden'),
        ('deit_small', 'memba_hidden_no_transfer'),
        ('swin_tiny', 'memba_hidden_no_transfer'),
    ],
    ids='_'.join,
)
def test_where_membranes_have_no_place_on_the_image_there_are_classes(pair, image, tmp_path):
    subject = make_subject(*pair)
    classes, page = describe(subject, image, 'potential')
    assert set(classes) == set('abc') and 'nothing to draw' in page
    with pytest.raises(UserError, match='cannot be put on the image'):
        write_page([subject], [image], (), tmp_path / 'out')


def test_maps_of_the_stages():
    grids = block_grids(make_subject('vmamba_tiny_s1l8', 'memba_hidden').backbone)
    assert [tuple(grid.patches.shape) for grid in grids] == [(8, 8), (4, 4), (4, 4)]
    assert {grid.extent for grid in grids} == {(0, 32, 32, 0)}


@pytest.mark.parametrize('name', ['vmamba_tiny_s1l8', 'vmamba_v0_tiny'])
@pytest.mark.parametrize('size', [(32, 32), (36, 44), (41, 30)])
def test_grids_are_those_of_the_maps(name, size):
    settings = {**MODELS[name], 'img_size': size, 'out_type': 'featmap', 'out_indices': (0, 1)}
    backbone = memba_vision.get_model(name, **settings).backbone
    maps = backbone(torch.zeros(1, 3, *size))
    assert backbone.stage_grids() == tuple(tuple(m.shape[2:]) for m in maps)


@pytest.mark.slow
def test_a_page_of_a_backbone_in_stages(image, tmp_path):
    subjects = [make_subject('vmamba_v0_tiny', 'memba')]
    page = write_page(subjects, [image], (), tmp_path / 'out')
    assert 'vmamba_v0_tiny memba' in page.read_text(encoding='utf-8')
    assert len(list((tmp_path / 'out').glob('*.png'))) == 6


@pytest.mark.parametrize('name', MODELS)
def test_the_app_answers_on_every_family(name, image):
    classes, page = describe(make_subject(name, 'lora'), image, 'potential')
    assert set(classes) == set('abc')
    assert 'no membrane' in page


def test_windows_are_not_put_on_the_image():
    adapters = [
        dict(type='LoRA', targets=['mix.in'], rank=2, scale=1.0),
        dict(type='HiddenLIM', target='mix.in', cross_layer=False),
    ]
    model = memba_vision.get_model('mamba_vision_tiny', **MODELS['mamba_vision_tiny'])
    model.backbone = PEFTModel(model.backbone, adapters).eval()
    pipeline = ImagePipeline(model._config)
    subject = Subject('windows', model, model.data_preprocessor, pipeline, list('abc'))
    with pytest.raises(UserError, match='cannot be put on the image') as error:
        check_membranes(subject)
    assert '\n' not in str(error.value)
