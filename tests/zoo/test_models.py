"""Models by name, in this package and in mmpretrain's index."""

import logging

import mmpretrain
import numpy as np
import pytest
import torch
from helpers import CONFIGS, REPOSITORY, needs_checkout
from mmengine.logging import MMLogger
from mmpretrain import ImageClassificationInferencer
from safetensors.torch import load_file, save_file

import memba_vision
from memba_vision.errors import UserError
from memba_vision.models import PEFTModel, Vim
from memba_vision.runs.presets import preset_names, read_config
from memba_vision.serving.deploy import describe
from memba_vision.weights import resolve
from memba_vision.zoo.adapter_files import write_adapter
from memba_vision.zoo.model_index import metafile
from memba_vision.zoo.models import architectures
from memba_vision.zoo.official import OFFICIAL

TINY = dict(arch=dict(embed_dims=8, num_layers=2))
#: Every method on the smallest architecture; with the second weights, one is enough.
SMALLEST = [n for n in memba_vision.list_models('vim_mini') if '_v2_' not in n]
MINI = 'memba_vision://vim-mini.safetensors'


def test_names_are_architectures_with_and_without_methods():
    names = memba_vision.list_models('vim_')
    presets = set(preset_names()) - {'lora_qv'}  # a Vim has no queries
    assert len(names) == len(set(names)) == 5 * (1 + len(presets))
    assert {'vim_tiny', 'vim_small_memba', 'vim_base_lora_out_proj', 'vim_mini_scratch'} <= {*names}
    assert memba_vision.list_models('vim_mini_lorap_') == [
        f'vim_mini_lorap_{part}' for part in 'bcdxz'
    ]
    assert memba_vision.list_models('vim*small*gru') == ['vim_small_memba_gru']
    assert memba_vision.list_models('resnet') == []


@pytest.mark.parametrize('name', ['tiny', 'small', 'base'])
def test_the_files_of_the_backbones_name_the_official_weights(name):
    config = read_config(CONFIGS / '_base_' / 'models' / f'vim-{name}.py')
    module = config.model.backbone.module
    assert module.init_cfg.checkpoint == OFFICIAL[f'vim_{name}'].url
    with torch.device('meta'):
        assert Vim(module.arch).embed_dims == config.model.head.in_channels


@pytest.mark.parametrize('name', SMALLEST)
def test_every_model_of_the_smallest_architecture_answers(name):
    model = memba_vision.get_model(name, num_classes=5, **TINY)
    assert not model.training
    assert isinstance(model.backbone, Vim if name in ('vim_mini', 'vim_mini_v2') else PEFTModel)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 48, 48)).shape == (1, 5)


def test_random_weights_come_without_a_list_of_them():
    """mmengine has one for mmpretrain's models, of two lines for each parameter."""
    said = []
    logger = MMLogger.get_current_instance()
    watching = logging.Handler(logging.INFO)
    watching.emit = said.append
    logger.addHandler(watching)
    level = logger.level
    memba_vision.get_model('vit_mini_lora', num_classes=2)
    logger.removeHandler(watching)
    assert said == [] and logger.level == level


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


def test_which_weights_of_a_file(tmp_path):
    weights = load_file(resolve(MINI))
    averaged = {f'student.{name}': tensor + 1 for name, tensor in weights.items()}
    averaged |= {f'teacher.{name}': tensor for name, tensor in weights.items()}
    torch.save({'model': weights, 'model_ema': averaged}, tmp_path / 'vim.pth')
    choice = dict(checkpoint=tmp_path / 'vim.pth', key='model_ema', prefix='student')
    for name in ('vim_mini', 'vim_mini_lora'):
        model = memba_vision.get_model(name, pretrained=choice)
        backbone = getattr(model.backbone, 'module', model.backbone)
        assert torch.equal(backbone.norm_f.weight, weights['norm_f.weight'] + 1)


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        *((dict(num_classes=n), 'num_classes is a whole number') for n in (0, -1, 2.5, True, '3')),
        *((dict(in_channels=n), 'in_channels is a whole number') for n in (0, -1, 1.5)),
        *(
            (dict(img_size=n), 'img_size must be a positive whole')
            for n in (0, 48.5, (48,), 'large')
        ),
        *((dict(patch_size=n), 'patch_size must be a positive whole number') for n in (0, -8, 8.0)),
        *((dict(stride=n), 'stride must be a positive whole number') for n in (0, -8, 0.5)),
        *(
            (dict(device=n), f'device {n!r} cannot be used .*: this')
            for n in ('gpu', 'cuda:99', '')
        ),
        *((dict(pretrained=n), 'pretrained is True, False') for n in (3, ['a'], dict(key='model'))),
        (dict(pretrained=dict(checkpoint='a', keys='b')), 'pretrained is True, False'),
        (dict(pretrained=True, in_channels=1), r'expected \(96, 1, 8, 8\).* in_channels that'),
    ],
    ids=str,
)
def test_arguments_out_of_range(arguments, expected):
    with pytest.raises(UserError, match=expected) as error:
        memba_vision.get_model('vim_mini', **arguments)
    assert '\n' not in str(error.value)


def test_mistakes_are_told():
    for name in ('vim_huge', 'vim_small_loro', 'resnet50', 'memba', 'lora', ''):
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
    names = {n.replace('vim_', 'vim-', 1) for n in memba_vision.list_models('vim_')}
    names = {n.replace('mini_v2', 'mini-v2') for n in names}
    # The index has methods without a place too, which are errors when they are built.
    assert set(found) - names == {
        f'vim-{arch}_lora_qv' for arch in ('mini', 'mini-v2', 'tiny', 'small', 'base')
    }
    assert names <= set(found)


@pytest.mark.parametrize('name', ['vim-mini', 'vim-mini_memba', 'vim-mini_lora_out_proj'])
def test_mmpretrain_builds_them(name):
    model = mmpretrain.get_model(name, head=dict(num_classes=4))
    with torch.no_grad():
        assert model(torch.randn(1, 3, 48, 48)).shape == (1, 4)


def test_mmpretrain_loads_the_official_weights():
    expected = load_file(resolve(MINI))
    plain = mmpretrain.get_model('vim-mini', pretrained=True)
    assert torch.equal(plain.backbone.norm_f.weight, expected['norm_f.weight'])
    adapted = mmpretrain.get_model('vim-mini_lora', pretrained=True, head=dict(num_classes=3))
    own = memba_vision.get_model('vim_mini_lora', pretrained=True, num_classes=3)
    images = torch.randn(1, 3, 48, 48)
    assert torch.equal(adapted.backbone(images)[0], own.backbone(images)[0])
    assert adapted.backbone.header == own.backbone.header
    with pytest.raises(UserError, match='vim-mini_scratch starts from random weights: give pretra'):
        mmpretrain.get_model('vim-mini_scratch', pretrained=True)


def test_mmpretrain_finds_official_weights_that_were_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    kept = tmp_path / 'hub' / 'checkpoints' / OFFICIAL['vim_tiny'].file
    kept.parent.mkdir(parents=True)

    def get_model():
        arch = {**TINY['arch'], '_delete_': True}
        settings = dict(backbone=dict(arch=arch), head=dict(in_channels=8))
        return mmpretrain.get_model('vim-tiny', pretrained=True, **settings)

    source = Vim(**TINY).state_dict() | {'head.weight': torch.randn(1000, 8)}
    torch.save({'model': source}, kept)
    model = get_model()
    assert torch.equal(model.backbone.pos_embed, source['pos_embed'])
    assert torch.equal(model.head.fc.weight, source['head.weight'])
    torch.save({'model': {k: v for k, v in source.items() if k != 'cls_token'}}, kept)
    with pytest.raises(UserError, match='missing cls_token'):
        get_model()


@pytest.mark.parametrize('prefix', ['', 'module.', 'model.', 'backbone.'])
def test_mmpretrain_loads_a_file_strictly(tmp_path, prefix):
    path = str(tmp_path / 'vim.pth')
    weights = {prefix + name: tensor + 1 for name, tensor in load_file(resolve(MINI)).items()}
    weights['head.weight'] = torch.randn(7, 96)
    torch.save({'model': weights}, path)
    model = mmpretrain.get_model('vim-mini', pretrained=path)
    assert torch.equal(model.backbone.norm_f.weight, weights[f'{prefix}norm_f.weight'])
    assert torch.equal(model.head.fc.weight, weights['head.weight'])
    assert not model.head.fc.bias.any()
    assert model(torch.randn(1, 3, 48, 48)).shape == (1, 7)
    larger = mmpretrain.get_model('vim-mini', pretrained=path, backbone=dict(img_size=96))
    own = memba_vision.get_model('vim_mini', pretrained=path, img_size=96)
    assert torch.equal(larger.backbone.pos_embed, own.backbone.pos_embed)
    with pytest.raises(UserError, match=r'a head of 7 classes .* num_classes=7'):
        mmpretrain.get_model('vim-mini', pretrained=path, head=dict(num_classes=4))
    del weights[f'{prefix}norm_f.weight']
    torch.save({'model': weights}, path)
    with pytest.raises(UserError, match=r'missing norm_f\.weight'):
        mmpretrain.get_model('vim-mini', pretrained=path)
    torch.save(
        {'model': {f'{"ab"[n % 2]}.{k}': w for n, (k, w) in enumerate(weights.items())}}, path
    )
    with pytest.raises(UserError, match=r'names missing'):
        mmpretrain.get_model('vim-mini', pretrained=path)


@pytest.fixture
def trained(tmp_path):
    """A model as a training leaves it, and its checkpoint."""

    def make(name):
        model = memba_vision.get_model(name, pretrained=True, num_classes=3)
        with torch.no_grad():
            model.neck.bn.running_mean.normal_()
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        meta = {'dataset_meta': {'classes': ['rose', 'daisy', 'tulip']}}
        path = tmp_path / 'epoch_1.pth'
        torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
        return model, str(path)

    return make


@pytest.mark.parametrize(
    'name', ['vim_mini', 'vim_mini_memba', 'vim_mini_lora', 'vim_mini_linear_probing']
)
def test_trained_checkpoints_load_by_name(trained, name, tmp_path):
    model, path = trained(name)
    images, pixels = torch.randn(2, 3, 48, 48), np.zeros((48, 48, 3), np.uint8)
    in_index = name.replace('vim_', 'vim-')
    inferencers = [
        memba_vision.Inferencer(memba_vision.get_model(name, pretrained=path)),
        ImageClassificationInferencer(in_index, pretrained=path),
        ImageClassificationInferencer(mmpretrain.get_model(in_index, pretrained=path)),
    ]
    for inferencer in inferencers:
        assert torch.equal(inferencer.model(images), model(images))
        answer = inferencer(pixels)[0]
        assert answer['pred_class'] == ['rose', 'daisy', 'tulip'][answer['pred_label']]
        named = mmpretrain.inference_model(inferencer.model, pixels)
        assert named['pred_class'] == answer['pred_class']
    by_name = mmpretrain.inference_model(in_index, pixels, pretrained=path)
    assert by_name['pred_class'] == answer['pred_class']
    if name != 'vim_mini':
        write_adapter(path, tmp_path / 'adapter.safetensors')
        found = memba_vision.get_model(name, pretrained=tmp_path / 'adapter.safetensors')
        assert torch.equal(found(images), model(images))
        with pytest.raises(UserError, match='has a head of 3 classes, not 5'):
            memba_vision.get_model(name, pretrained=path, num_classes=5)


def test_checkpoints_of_another_method_are_refused(trained):
    _, path = trained('vim_mini_lora')
    for get_model in (memba_vision.get_model, mmpretrain.get_model):
        with pytest.raises(UserError, match='the checkpoint is of other adapters'):
            get_model('vim-mini_memba', pretrained=path)
        with pytest.raises(UserError, match=r'it holds adapters alone .*load_trained'):
            get_model('vim-mini', pretrained=path)


def test_the_metafile_is_that_of_the_tables():
    found = (CONFIGS / 'metafile.yml').read_text(encoding='utf-8')
    assert found == metafile(), (
        'write it anew: python -c "from memba_vision.zoo.model_index import metafile; '
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
