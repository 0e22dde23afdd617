"""What holds for the published checkpoints and models of every family."""

import re
import sys
import types

import mmpretrain
import numpy as np
import pytest
import torch
from helpers import CONFIGS, run_tool
from safetensors.torch import load_file
from small_families import ARCHS, MODELS, small_officials

import memba_vision
from memba_vision.errors import UserError
from memba_vision.models.peft import PEFTModel
from memba_vision.runs.presets import read_config
from memba_vision.weights import licence_of, read_checkpoint
from memba_vision.zoo.combinations import unsupported_reason
from memba_vision.zoo.models import feature_dim, model_config
from memba_vision.zoo.official import OFFICIAL, official_name, url_of
from memba_vision.zoo.official_weights import build_official

PUBLISHED = [name for name in OFFICIAL if not name.endswith('+')]


@pytest.fixture
def officials(monkeypatch, file_server):
    """Small stand-ins for published checkpoints, on a server of one's own."""
    found = small_officials(file_server.url)
    for name, official in found.items():
        monkeypatch.setitem(OFFICIAL, name, official)
    return found


def weights_of(official):
    """Random weights of a checkpoint, and a head for three classes."""
    torch.manual_seed(0)
    model = build_official(official).to_empty(device='cpu')
    tensors = model.state_dict()
    for tensor in tensors.values():  # variances have to be positive
        tensor.copy_(torch.rand(tensor.shape) * 0.2)
    head = {'head.weight': torch.randn(3, model.feature_dim), 'head.bias': torch.randn(3)}
    return {**tensors, **head}


def settings_by_yacs():
    """Settings as the authors of VMamba keep them beside the weights."""
    kind = type('CfgNode', (dict,), {'__module__': 'yacs.config'})
    module = types.ModuleType('yacs.config')
    module.CfgNode = kind
    node = kind(MODEL=kind(NAME='vssm'), OUTPUT='out')
    node.__dict__.update({'__immutable__': True, '__deprecated_keys__': {'a'}})
    return module, node


@pytest.fixture
def published(officials, file_server, monkeypatch):
    """Write the file of a checkpoint to the server, with what its training leaves beside it."""

    def write(name):
        official, weights = officials[name], weights_of(officials[name])
        module, config = settings_by_yacs()
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, 'yacs', types.ModuleType('yacs'))
            patch.setitem(sys.modules, 'yacs.config', module)
            content = {'epoch': 3, official.key: weights, 'model_ema': weights, 'config': config}
            torch.save(content, file_server.folder / f'{name}.pth')
        return file_server.folder / f'{name}.pth', weights

    return write


@pytest.mark.parametrize('name', PUBLISHED)
def test_every_published_checkpoint_has_a_model(name):
    official = OFFICIAL[name]
    model = model_config(name).model
    assert (model.backbone.type, model.backbone.arch) == (official.family, official.arch)
    assert model.backbone.init_cfg.checkpoint == official.url == url_of(name.replace('_', '-'))
    assert feature_dim(build_official(official)) == model.head.in_channels
    assert licence_of(official.url)
    assert '#' not in official.url


def test_the_numbers_of_published_checkpoints():
    families = [official.family for official in OFFICIAL.values()]
    counts = {family: families.count(family) for family in families}
    assert counts == {'Vim': 5, 'VMamba': 9, 'MambaReg': 3, 'MambaVision': 6}
    assert OFFICIAL['vmamba_v0_tiny'].url.endswith('/%23v0cls/vssmtiny_dp01_ckpt_epoch_292.pth')
    assert official_name('small+') == 'vim_small+'
    with pytest.raises(UserError, match=r"no published checkpoint 'huge'; known are vim_tiny,"):
        official_name('huge')


@pytest.mark.parametrize('name', ARCHS)
def test_files_are_fetched_verified_and_converted(name, published, tmp_path, file_server):
    _, weights = published(name)
    fetched = run_tool('weights', 'fetch', name, '--out', tmp_path)
    assert fetched.out.endswith(f'every key fits {name}; size and SHA-256 recorded\n')
    assert fetched.out.startswith(f'{name}: licence: ')
    out = tmp_path / 'converted.safetensors'
    assert run_tool('weights', 'convert', tmp_path / f'{name}.pth', out).status == 0
    found = load_file(out)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in weights.items())
    values = sum(t.numel() for key, t in weights.items() if not key.startswith('head.'))
    for choice in ([], ['--name', name]):
        verified = run_tool('weights', 'verify', out, *choice)
        assert f'every key fits {name}, {values:,} values without the head' in verified.out


@pytest.mark.parametrize('name', ARCHS)
def test_a_file_of_another_arch_is_named(name, published, tmp_path):
    path, _ = published(name)
    other = next(known for known in ARCHS if known != name)
    error = run_tool('weights', 'verify', path, '--name', other).error()
    assert f'holds the weights of {name}, not those of {other}: give --name {name}' in error


def test_a_file_of_no_published_arch(tmp_path):
    torch.save({'model': {'a': torch.zeros(2)}}, tmp_path / 'a.pth')
    assert 'is of no published arch' in run_tool('weights', 'verify', tmp_path / 'a.pth').error()


def test_settings_beside_the_weights_run_no_code(published):
    path, _ = published('vmamba_tiny_s1l8')
    assert 'yacs' not in sys.modules
    assert read_checkpoint(str(path))['config'] == dict(MODEL=dict(NAME='vssm'), OUTPUT='out')
    assert 'yacs' not in sys.modules


@pytest.mark.parametrize('name', ARCHS)
def test_licences_are_told_before_a_download(name, caplog, monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr('memba_vision.weights.reading.download', lambda *_: said.append('load'))
    monkeypatch.setattr(
        'memba_vision.weights.licences.print_log', lambda text, **_: said.append(text)
    )
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    (tmp_path / 'hub' / 'checkpoints').mkdir(parents=True)
    with pytest.raises(UserError, match='no checkpoint at'):
        memba_vision.get_model(name, pretrained=True)
    url = OFFICIAL[name].url
    assert said == [f'{url}: licence: {licence_of(url)}', 'load']


def test_non_commercial_licences_are_called_so():
    for name, official in OFFICIAL.items():
        assert ('not for commercial' in licence_of(official.url)) == ('mamba_vision' in name)


@pytest.mark.parametrize('name', ARCHS)
def test_models_load_the_weights_and_the_head_of_a_file(name, published):
    path, weights = published(name)
    arch = ARCHS[name]
    model = memba_vision.get_model(name, pretrained=path, arch=arch, img_size=32)
    assert torch.equal(model.head.fc.weight, weights['head.weight'])
    key = next(key for key in weights if key.endswith('proj.weight'))
    assert torch.equal(model.backbone.state_dict()[key], weights[key])
    images = torch.randn(2, 3, 32, 32)
    adapted = memba_vision.get_model(f'{name}_lora', pretrained=path, arch=arch, img_size=32)
    assert isinstance(adapted.backbone, PEFTModel)
    torch.testing.assert_close(adapted.backbone(images)[0], model.backbone(images)[0])
    features = memba_vision.extract_features(model, np.zeros((50, 60, 3), np.uint8))
    assert features.shape == (1, model.head.in_channels)


@pytest.mark.parametrize('name', ARCHS)
def test_mmpretrain_loads_the_file_too(name, published):
    path, weights = published(name)
    arch = dict(ARCHS[name], _delete_=True) if isinstance(ARCHS[name], dict) else ARCHS[name]
    head = dict(in_channels=weights['head.weight'].shape[1])
    settings = dict(backbone=dict(arch=arch), head=head)
    model = mmpretrain.get_model(name.replace('_', '-'), pretrained=str(path), **settings)
    assert torch.equal(model.head.fc.weight, weights['head.weight'])
    key = next(key for key in weights if key.endswith('proj.weight'))
    assert torch.equal(model.backbone.state_dict()[key], weights[key])


def test_methods_without_a_place_are_not_listed():
    names = [name for name in memba_vision.list_models('*_memba') if name.endswith('_memba')]
    assert {'vim_small_memba', 'mamba_reg_small_memba', 'vmamba_v0_tiny_memba'} <= {*names}
    assert not any(re.match(r'vmamba_(tiny|small|base)|mamba_vision', name) for name in names)
    assert 'needs "gate"' in unsupported_reason('mamba-vision-tiny', 'memba')
    with pytest.raises(UserError, match=r'needs "gate".* MambaVision has not'):
        memba_vision.get_model('mamba_vision_tiny_memba')
    assert 'vmamba_tiny_s1l8_lora' in memba_vision.list_models('vmamba_tiny_s1l8_lora')


def test_sizes_of_mambapeft_on_vmamba():
    from memba_vision.zoo.model_size import build_without_weights, measure_size

    for name, values in {'small_s2l15': 1_511_424, 'base_s2l15': 503_808}.items():
        config = model_config(f'vmamba_{name}_lora_in_proj')
        adapters = config.model.backbone.adapters
        assert measure_size(build_without_weights(config), adapters).trained == values


def test_recipes_and_drop_rates_are_those_of_mambapeft():
    small, base = (
        read_config(CONFIGS / '_base_' / 'models' / f'vmamba-{name}-s2l15.py')
        for name in ('small', 'base')
    )
    assert [c.model.backbone.module.drop_path_rate for c in (small, base)] == [0.3, 0.6]
    assert small.recipe.optim_wrapper.clip_grad is None


@pytest.mark.parametrize('name', MODELS)
def test_every_family_builds_by_name(name):
    model = memba_vision.get_model(name, num_classes=5, **MODELS[name])
    images = torch.randn(2, 3, 32, 32)
    assert model(images).shape == (2, 5)
    adapted = memba_vision.get_model(f'{name}_lora', num_classes=5, **MODELS[name])
    assert adapted(images).shape == (2, 5)
    assert adapted.backbone.adapter_parameters()


@pytest.mark.parametrize('name', ['deit_small', 'swin_tiny'])
def test_mmpretrain_takes_files_of_transformers_as_a_whole(name, tmp_path):
    source = memba_vision.get_model(name, num_classes=3, **MODELS[name])
    state = source.backbone.state_dict()
    tensors = {f'backbone.{n}': t + 1 if t.is_floating_point() else t for n, t in state.items()}
    tensors |= {n: t for n, t in source.state_dict().items() if n.startswith('head.')}
    path = tmp_path / 'file.pth'
    torch.save({'state_dict': tensors}, path)

    def get_model():
        arch = dict(MODELS[name]['arch'], _delete_=True)
        settings = dict(backbone=MODELS[name] | dict(arch=arch))
        settings['head'] = dict(in_channels=source.head.fc.in_features)
        return mmpretrain.get_model(name.replace('_', '-'), pretrained=str(path), **settings)

    model = get_model()
    for key, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, tensors[f'backbone.{key}'])
    assert torch.equal(model.head.fc.weight, source.head.fc.weight)
    tensors.pop(next(name for name in tensors if name.endswith('qkv.weight')))
    torch.save({'state_dict': tensors}, path)
    with pytest.raises(UserError, match=r'missing .*qkv\.weight'):
        get_model()
