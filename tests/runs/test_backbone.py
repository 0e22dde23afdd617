"""Identity of a run's backbone, and which runs may be averaged."""

import json

import pytest
from helpers import CONFIGS, DEMO

from memba_vision.runs.backbone import RANDOM, Backbone, backbone_labels, backbone_of
from memba_vision.runs.config import load_config

INIT = dict(type='Pretrained', checkpoint='base.safetensors')
TINY = dict(type='Vim', arch=dict(embed_dims=16, num_layers=2), init_cfg=INIT)


def of(**backbone) -> Backbone:
    return backbone_of({'model': {'backbone': backbone}}, 'f' * 64)


@pytest.mark.parametrize(
    ('path', 'arch'),
    [
        (DEMO, 'vim_mini'),
        (CONFIGS / 'demo' / 'digits_lora.py', 'vim_mini'),
        (CONFIGS / 'vtab1k' / 'kitti_memba.py', 'vim_small'),
    ],
)
def test_a_shipped_config(path, arch):
    config = load_config(str(path), {}, None)
    expected = Backbone('vim', arch, 'f' * 64)
    assert backbone_of(config, 'f' * 64) == expected
    recorded = json.loads(json.dumps(config.to_dict()))  # as run.json has it
    assert backbone_of(recorded, 'f' * 64) == expected


def test_the_architecture_that_a_class_has_by_default():
    assert of(type='Vim', init_cfg=INIT).arch == 'vim_small'


def test_custom_architectures_are_told_apart():
    tiny, deeper = of(module=TINY), of(**{**TINY, 'arch': dict(embed_dims=16, num_layers=3)})
    assert tiny.arch.startswith('vim_custom_')
    assert tiny.arch != deeper.arch
    assert of(**TINY, img_size=48).arch == tiny.arch


def test_a_backbone_without_an_architecture_goes_by_its_settings():
    found = [of(type='PooledVim', embed_dims=16, num_layers=n, init_cfg=INIT) for n in (2, 3, 3)]
    assert {b.family for b in found} == {'pooledvim'}
    assert found[0].arch != found[1].arch == found[2].arch


def test_names_of_other_libraries():
    found = of(type='mmpretrain.TIMMBackbone', model_name='hub/vit_tiny', pretrained=True)
    assert found == Backbone('timmbackbone', 'timmbackbone_hub-vit_tiny', 'f' * 64)


def test_a_model_that_states_no_backbone_goes_by_its_own_settings():
    models = [dict(type='OwnClassifier', width=width) for width in (8, 16)]
    found = [backbone_of({'model': model}) for model in models]
    assert {backbone.family for backbone in found} == {'ownclassifier'}
    assert found[0].arch != found[1].arch


@pytest.mark.parametrize('init', [None, dict(type='Pretrained', checkpoint=None)])
def test_random_weights_have_no_fingerprint(init):
    assert of(**{**TINY, 'init_cfg': init}).base == RANDOM


LABELS = {
    'one': ([Backbone('vim', 'a', '1' * 64)], {'a'}),
    'unknown': ([Backbone()], {'vim'}),
    'two_sizes': ([Backbone('vim', 'a', '1' * 64), Backbone('vim', 'b', '2' * 64)], {'a', 'b'}),
    'unknown_size': ([Backbone(), Backbone('vim', 'a')], {'vim', 'a'}),
    'two_bases': (
        [Backbone('vim', 'a', '1' * 64), Backbone('vim', 'a', '2' * 64)],
        {'a (11111111)', 'a (22222222)'},
    ),
    'unknown_beside_two_bases': (
        [Backbone('vim', 'a', '1' * 64), Backbone('vim', 'a', '2' * 64), Backbone('vim', 'a')],
        {'a (11111111)', 'a (22222222)', 'a (unknown base)'},
    ),
}


@pytest.mark.parametrize(('backbones', 'expected'), LABELS.values(), ids=LABELS)
def test_labels(backbones, expected):
    runs = [('lora', backbone) for backbone in backbones]
    labels = backbone_labels(runs)
    assert set(labels) == set(runs)
    assert set(labels.values()) == expected


@pytest.mark.parametrize(
    ('method', 'beside', 'label'),
    [
        ('scratch', 'lora', 'a'),
        ('scratch_lr0.01', 'lora', 'a'),
        ('my_own', 'lora', 'a'),
        ('my_own', 'my_own', 'a (random)'),
        ('lora', 'lora', 'a (random)'),
        ('lora_in_proj_lr0.01', 'memba', 'a (random)'),
        ('lora', None, 'a'),
    ],
)
def test_random_weights_in_the_place_of_those_that_a_method_adapts(method, beside, label):
    of_random = method, Backbone('vim', 'a', RANDOM)
    others = [(beside, Backbone('vim', 'a', '1' * 64))] if beside else []
    labels = backbone_labels([of_random, *others])
    assert labels.pop(of_random) == label
    assert set(labels.values()) <= {'a'}
