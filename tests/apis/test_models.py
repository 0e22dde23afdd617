"""Models by name, in this package and in mmpretrain's index."""

import mmpretrain
import numpy as np
import pytest
import torch
from helpers import CONFIGS, REPOSITORY, needs_checkout
from safetensors.torch import load_file, save_file

import memba_vision
from memba_vision.apis.deploy import describe
from memba_vision.apis.model_index import metafile
from memba_vision.apis.models import architectures
from memba_vision.apis.official_weights import OFFICIAL
from memba_vision.apis.presets import preset_names, read_config
from memba_vision.errors import UserError
from memba_vision.models import PEFTModel, Vim
from memba_vision.weights import resolve

TINY = dict(arch=dict(embed_dims=8, num_layers=2))
MINI = 'memba_vision://vim-mini.safetensors'


def test_names_are_architectures_with_and_without_methods():
    names = memba_vision.list_models()
    assert len(names) == len(set(names)) == 4 * (1 + len(preset_names()))
    assert {'vim_tiny', 'vim_small_memba', 'vim_base_lora_out_proj', 'vim_mini_scratch'} <= {*names}
    assert memba_vision.list_models('vim_mini_lorap_') == [
        f'vim_mini_lorap_{part}' for part in 'bcdxz'
    ]
    assert memba_vision.list_models('*small*gru') == ['vim_small_memba_gru']
    assert memba_vision.list_models('resnet') == []


@pytest.mark.parametrize('name', ['tiny', 'small', 'base'])
def test_the_files_of_the_backbones_name_the_official_weights(name):
    config = read_config(CONFIGS / '_base_' / 'models' / f'vim-{name}.py')
    module = config.model.backbone.module
    assert module.init_cfg.checkpoint == OFFICIAL[name].url
    with torch.device('meta'):
        assert Vim(module.arch).embed_dims == config.model.head.in_channels


@pytest.mark.parametrize('name', memba_vision.list_models('vim_mini'))
def test_every_model_of_the_smallest_architecture_answers(name):
    model = memba_vision.get_model(name, num_classes=5, **TINY)
    assert not model.training
    assert isinstance(model.backbone, Vim if name == 'vim_mini' else PEFTModel)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 48, 48)).shape == (1, 5)


def test_weights_that_come_with_the_package():
    expected = load_file(resolve(MINI))
    model = memba_vision.get_model('vim_mini_memba', pretrained=True, num_classes=3)
    found = model.backbone.module.state_dict()
    assert torch.equal(found['layers.0.mixer.A_log'], expected['layers.0.mixer.A_log'])
    weight = 'layers.5.mixer.in_proj.base_layer.weight'
    assert torch.equal(found[weight], expected['layers.5.mixer.in_proj.weight'])
    plain = memba_vision.get_model('vim-mini', pretrained=True)
    assert torch.equal(plain.backbone.pos_embed, expected['pos_embed'])
    untrained = memba_vision.get_model('vim_mini')
    assert not torch.equal(untrained.backbone.pos_embed, expected['pos_embed'])


def test_a_head_among_the_weights_is_taken_where_it_fits(tmp_path):
    path = tmp_path / 'vim.safetensors'
    weights = load_file(resolve(MINI))
    head = {'head.weight': torch.randn(7, 96), 'head.bias': torch.randn(7)}
    save_file({**weights, **head}, path)
    for number in (None, 7):
        model = memba_vision.get_model('vim_mini', pretrained=path, num_classes=number)
        assert torch.equal(model.head.fc.weight, head['head.weight'])
    assert memba_vision.get_model('vim_mini', pretrained=path, num_classes=3).head.num_classes == 3
    adapted = memba_vision.get_model('vim_mini_lora', pretrained=path)
    assert adapted.head.num_classes == 1000
    del weights['layers.3.mixer.D']
    save_file(weights, path)
    with pytest.raises(UserError, match=r'missing layers\.3\.mixer\.D'):
        memba_vision.get_model('vim_mini', pretrained=path)


def test_images_are_resized_to_the_size_that_was_asked_for():
    tiny = dict(arch=dict(embed_dims=16, num_layers=1))
    model = memba_vision.get_model('vim_mini', img_size=96, **tiny)
    features = memba_vision.extract_features(model, np.zeros((50, 60, 3), np.uint8))
    assert features.shape == (1, 16)
    assert describe(model)['size'] == [96, 96]


def test_mistakes_are_told():
    for name in ('vim_huge', 'vim_small_loro', 'resnet50', 'memba', 'lora'):
        with pytest.raises(UserError, match=f"no model '{name}': .*vim_small_memba"):
            memba_vision.get_model(name)
    with pytest.raises(UserError, match='vim_mini_scratch starts from random weights'):
        memba_vision.get_model('vim_mini_scratch', pretrained=True)
    with pytest.raises(UserError, match='bogus'):
        memba_vision.get_model('vim_mini', bogus=1)
    with pytest.raises(UserError, match="unknown arch 'huge'"):
        memba_vision.get_model('vim_mini', arch='huge')
    with pytest.raises(UserError, match='no checkpoint at nowhere'):
        memba_vision.get_model('vim_mini', pretrained='nowhere')
    with pytest.raises(AttributeError, match='no attribute'):
        _ = memba_vision.get_modle


# mmpretrain's index


def test_mmpretrain_lists_the_models():
    found = mmpretrain.list_models('vim-', task='Image Classification')
    assert found == sorted(n.replace('vim_', 'vim-', 1) for n in memba_vision.list_models())


@pytest.mark.parametrize('name', ['vim-mini', 'vim-mini_memba', 'vim-mini_lora_out_proj'])
def test_mmpretrain_builds_them(name):
    model = mmpretrain.get_model(name, head=dict(num_classes=4))
    with torch.no_grad():
        assert model(torch.randn(1, 3, 48, 48)).shape == (1, 4)


def test_mmpretrain_loads_no_weights_by_halves():
    with pytest.raises(UserError, match=r"memba_vision\.get_model\('vim_mini', pretrained=True\)"):
        mmpretrain.get_model('vim-mini', pretrained=True)


def test_the_metafile_is_that_of_the_tables():
    found = (CONFIGS / 'metafile.yml').read_text(encoding='utf-8')
    assert found == metafile(), (
        'write it anew: python -c "from memba_vision.apis.model_index import metafile; '
        'print(metafile(), end=str())" > configs/metafile.yml'
    )
    assert 'vim-small_memba\n' in found


@needs_checkout
def test_the_index_of_the_repository_leads_to_the_metafile():
    from modelindex.load_model_index import load

    index = load(str(REPOSITORY / 'model-index.yml'))
    index.build_models_with_collections()
    models = {model.name: model for model in index.models}
    assert {*architectures(), 'vim-small_memba'} <= models.keys()
    metrics = models['vim-small_memba'].results[0].metrics
    assert metrics['Top 1 Accuracy'] == 72.40
    assert all((REPOSITORY / model.config).is_file() for model in models.values() if model.config)
