"""VMamba: the numbers of an independent reference, the official files, and mmpretrain's manners."""

import copy
import math
import sys
import types

import pytest
import torch
from formulas import make_images
from helpers import CONFIGS
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn
from vmamba_reference import features, official_shapes, random_weights

from memba_vision.errors import UserError
from memba_vision.models import VMamba
from memba_vision.models.backbones.vmamba_weights import ARCHS, FILES
from memba_vision.models.modules.scan import ScanCall
from memba_vision.models.peft.model import attach_adapters

#: Parameters with a head of 1,000 classes, as the authors' own models have them.
COUNTS = {
    'tiny_s1l8': 30_249_064,
    'tiny_s2l5': 30_705_832,
    'small_s2l15': 50_147_752,
    'small_s1l20': 49_012_840,
    'base_s2l15': 88_557_800,
    'base_s1l20': 86_614_504,
    'v0_tiny': 22_893_448,
    'v0_small': 44_417_416,
    'v0_base': 76_254_056,
}
TINY = {
    'v2_ratio_1': dict(embed_dims=8, depths=(1, 2, 1), ssm_ratio=1, d_state=1, version='v2'),
    'v2_ratio_2': dict(embed_dims=8, depths=(1, 1), ssm_ratio=2, d_state=1, version='v2'),
    'v0': dict(embed_dims=8, depths=(1, 2, 1), ssm_ratio=2, d_state=3, version='v0'),
}
SIZES = [(32, 48), (29, 38)]


@pytest.fixture(scope='module', params=TINY)
def tiny(request):
    """An architecture, and random weights under the official names."""
    arch = TINY[request.param]
    return arch, random_weights(official_shapes(**arch))


def save(path, content):
    torch.save(content, path)
    return path


def load(checkpoint, arch, **settings):
    init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint))
    model = VMamba(arch, init_cfg=init_cfg, **settings)
    model.init_weights()
    return model.eval()


# Numbers


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_features_are_those_of_the_formulas(tiny, size, tmp_path):
    arch, weights = tiny
    model = load(save(tmp_path / 'weights.pth', {'model': weights}), arch)
    images = make_images(*size)
    with torch.no_grad():
        torch.testing.assert_close(
            model(images)[0], features(weights, images), rtol=1e-5, atol=1e-5
        )


def test_gradients_are_those_of_the_formulas(tiny):
    arch, weights = tiny
    model = VMamba(arch)
    model.load_state_dict({k: t for k, t in weights.items() if 'head' not in k})
    leaves = {k: t.clone().requires_grad_() for k, t in weights.items() if 'head' not in k}
    images = make_images(16, 20)
    model(images)[0].square().sum().backward()
    features(leaves, images).square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, leaves[name].grad, rtol=1e-4, atol=1e-4, msg=name
        )


@pytest.mark.parametrize('version', ['v0', 'v2'])
def test_recomputed_blocks_give_the_same_gradients(version):
    torch.manual_seed(0)
    model = VMamba(dict(embed_dims=8, depths=(1, 2), version=version)).train()
    images = make_images(16, 16)
    expected = torch.autograd.grad(model(images)[0].square().sum(), list(model.parameters()))
    model.with_cp = True
    actual = torch.autograd.grad(model(images)[0].square().sum(), list(model.parameters()))
    torch.testing.assert_close(actual, expected)


def test_half_precision_is_near(tiny):
    arch, weights = tiny
    model = VMamba(arch).eval()
    model.load_state_dict({k: t for k, t in weights.items() if 'head' not in k})
    images = make_images(32, 32)
    with torch.no_grad():
        expected = model(images)[0]
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert (model(images)[0] - expected).norm() < 0.05 * expected.norm()
        whole = model.bfloat16()(images.bfloat16())[0]
    assert (whole - expected).norm() < 0.05 * expected.norm()


# Files


@pytest.mark.parametrize('arch', COUNTS)
def test_the_published_sizes(arch):
    with torch.device('meta'):
        backbone = dict(type='VMamba', arch=arch)
        in_channels = ARCHS[arch]['embed_dims'] * 8
        head = dict(type='LinearClsHead', num_classes=1000, in_channels=in_channels)
        model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))
    assert sum(p.numel() for p in model.parameters()) == COUNTS[arch]


@pytest.mark.parametrize('arch', ARCHS)
def test_the_official_names_and_shapes(arch):
    with torch.device('meta'):
        model = VMamba(arch)
    expected = official_shapes(**ARCHS[arch])
    found = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert found == {k: v for k, v in expected.items() if not k.startswith('classifier.head')}
    assert dict(model.named_parameters()).keys() == found.keys()


OLDER = {
    'patch_embed.0.': 'patch_embed.proj.',
    'patch_embed.2.': 'patch_embed.norm.',
    '.op.': '.self_attention.',
    'classifier.': '',
}


def older_names(weights):
    renamed = {}
    for name, tensor in weights.items():
        older = name
        for today, before in OLDER.items():
            older = older.replace(today, before)
        if '.blocks.' in older:
            older = older.replace('.norm.', '.ln_1.')
        renamed[older] = tensor
    return renamed


def as_kernels(weights):
    projections = ('in_proj.weight', 'out_proj.weight', 'fc1.weight', 'fc2.weight')
    return {k: t[..., None, None] if k.endswith(projections) else t for k, t in weights.items()}


WRITTEN = {
    'plain': lambda weights: weights,
    'model': lambda weights: {'model': weights, 'epoch': 3},
    'averaged': lambda weights: {'model_ema': weights},
    'parallel': lambda weights: {'model': {f'module.{k}': t for k, t in weights.items()}},
    'kernels': lambda weights: {'model': as_kernels(weights)},
    'older': lambda weights: {'model': older_names(weights)},
}


@pytest.mark.parametrize('written', WRITTEN)
def test_files_however_they_were_written(written, tmp_path):
    arch = TINY['v0']
    weights = random_weights(official_shapes(**arch))
    model = load(save(tmp_path / 'weights.pth', WRITTEN[written](weights)), arch)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_two_sets_of_weights_in_one_file(tmp_path):
    arch = TINY['v2_ratio_1']
    sets = {
        key: random_weights(official_shapes(**arch), seed)
        for seed, key in enumerate(['model', 'model_ema'])
    }
    path = str(save(tmp_path / 'both.pth', sets))
    for key, weights in sets.items():
        init_cfg = dict(type='Pretrained', checkpoint=path, key=key)
        model = VMamba(arch, init_cfg=init_cfg)
        model.init_weights()
        assert torch.equal(model.classifier.norm.weight, weights['classifier.norm.weight'])


def test_the_config_of_the_training_script_may_stand_beside_the_weights(tmp_path, monkeypatch):
    class CfgNode(dict):
        """As that of yacs, which is not installed."""

        def __init__(self, *args):
            super().__init__(*args)
            self.__dict__['__immutable__'] = False

        def __setstate__(self, state):
            raise AssertionError('it runs')

    CfgNode.__module__, CfgNode.__qualname__ = 'yacs.config', 'CfgNode'
    arch = TINY['v2_ratio_1']
    weights = random_weights(official_shapes(**arch))
    with monkeypatch.context() as patch:
        module = types.ModuleType('yacs.config')
        module.CfgNode = CfgNode
        patch.setitem(sys.modules, 'yacs', types.ModuleType('yacs'))
        patch.setitem(sys.modules, 'yacs.config', module)
        config = CfgNode({'MODEL': CfgNode({'DEPTHS': [1, 2]})})
        path = save(tmp_path / 'weights.pth', {'model': weights, 'config': config})
    assert torch.equal(load(path, arch).classifier.norm.bias, weights['classifier.norm.bias'])


def test_what_was_pickled_beside_the_weights_is_not_run(tmp_path):
    class Config:
        def __reduce__(self):
            return (open, (str(tmp_path / 'ran'), 'w'))

    arch = TINY['v2_ratio_1']
    weights = random_weights(official_shapes(**arch))
    path = save(tmp_path / 'weights.pth', {'model': weights, 'config': Config()})
    with pytest.raises(UserError, match='pickled Python objects'):
        load(path, arch)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('wrapped', [True, False])
def test_a_classifier_loads_an_official_file_with_its_head(wrapped, tmp_path):
    from mmengine.runner import load_checkpoint

    arch = TINY['v0']
    weights = random_weights(official_shapes(**arch))
    written = {'model': older_names(weights)} if wrapped else weights
    path = save(tmp_path / 'weights.pth', {'state_dict': written} if not wrapped else written)
    head = dict(type='LinearClsHead', num_classes=10, in_channels=32)
    backbone = dict(type='VMamba', arch=arch)
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head)).eval()
    if wrapped:
        path = save(path, older_names(weights))
    load_checkpoint(model, str(path), strict=True)
    images = make_images(32, 32)
    logits = features(weights, images) @ weights['classifier.head.weight'].T
    expected = logits + weights['classifier.head.bias']
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected, rtol=1e-5, atol=1e-5)


CONFUSED = [('tiny_s1l8', 'tiny_s2l5'), ('v0_tiny', 'tiny_s2l5'), ('base_s2l15', 'small_s2l15')]


@pytest.mark.parametrize(('of', 'asked'), [*CONFUSED, ('small_s1l20', 'v0_small')], ids=str)
def test_a_file_of_another_architecture_is_named(of, asked):
    with torch.device('meta'):
        model = VMamba(asked)
        weights = VMamba(of).state_dict()
    message = f"file.pth is of the VMamba with arch='{of}', and this one has arch='{asked}': set"
    with pytest.raises(UserError, match=message):
        FILES.fit(model, weights, 'file.pth')


def test_a_file_of_an_architecture_without_a_name_is_described(tmp_path):
    weights = random_weights(official_shapes(**TINY['v0']))
    path = save(tmp_path / 'weights.pth', {'model': weights})
    with pytest.raises(UserError, match=r'set arch=dict\(embed_dims=8, depths=\(1, 2, 1\)'):
        load(path, TINY['v2_ratio_1'])


@pytest.mark.parametrize('change', ['missing', 'unexpected', 'misshapen'])
def test_files_that_do_not_fit(change, tmp_path):
    arch = TINY['v2_ratio_1']
    weights = random_weights(official_shapes(**arch))
    name = 'layers.1.blocks.0.op.Ds'
    if change == 'missing':
        del weights[name]
    elif change == 'unexpected':
        weights[f'{name}_more'] = weights[name]
    else:
        weights[name] = weights[name][:-1]
    with pytest.raises(UserError, match='does not fit VMamba'):
        load(save(tmp_path / 'weights.pth', weights), arch)


# Manners


def test_outputs_of_all_stages_and_types():
    images = make_images(36, 50)
    for version, grids in (('v2', [(9, 13), (5, 7)]), ('v0', [(9, 12), (5, 6)])):
        for out_type in ('featmap', 'raw', 'avg_featmap'):
            torch.manual_seed(0)
            arch = dict(embed_dims=8, depths=(1, 1), version=version)
            model = VMamba(arch, out_indices=(0, -1), out_type=out_type).eval()
            for output, dim, grid in zip(model(images), (8, 16), grids, strict=True):
                shapes = {
                    'featmap': (2, dim, *grid),
                    'raw': (2, math.prod(grid), dim),
                    'avg_featmap': (2, dim),
                }
                assert output.shape == shapes[out_type]


def test_output_types_are_one_map():
    outputs = {}
    for out_type in ('featmap', 'raw', 'avg_featmap'):
        torch.manual_seed(0)
        model = VMamba(dict(embed_dims=8, depths=(1, 1)), out_type=out_type).eval()
        outputs[out_type] = model(make_images(32, 48))[0]
    raw = outputs['raw']
    assert torch.equal(outputs['featmap'].flatten(2).transpose(1, 2), raw)
    torch.testing.assert_close(outputs['avg_featmap'], raw.mean(dim=1))


@pytest.mark.parametrize('frozen', [-1, 0, 1, 2])
def test_frozen_stages(frozen):
    model = VMamba(dict(embed_dims=8, depths=(1, 2)), frozen_stages=frozen, drop_path_rate=0.5)
    model.train()
    parts = [('patch_embed', 1), ('layers.0', 1), ('layers.1', 2), ('classifier', 2)]
    for name, since in parts:
        part = model.get_submodule(name)
        assert all(p.requires_grad == (frozen < since) for p in part.parameters())
        assert part.training == (frozen < since)


def test_drop_path_rises_over_all_blocks():
    model = VMamba(dict(embed_dims=8, depths=(1, 2, 2)), drop_path_rate=0.4)
    rates = [block.drop_path.drop_prob for stage in model.layers for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_depths_for_learning_rates():
    model = VMamba(dict(embed_dims=8, depths=(1, 2)))
    expected = {
        'patch_embed.0.weight': 0,
        'layers.0.blocks.0.norm.weight': 1,
        'layers.0.downsample.1.weight': 1,
        'layers.1.blocks.0.op.Ds': 2,
        'layers.1.blocks.1.mlp.fc1.bias': 3,
        'classifier.norm.weight': 4,
    }
    for name, depth in expected.items():
        assert model.get_layer_depth(f'backbone.{name}', 'backbone.') == (depth, 5)
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (4, 5)
    assert model.get_layer_depth('classifier.norm.weight') == (4, 5)


def test_no_decay_names_parameters():
    names = {name.rpartition('.')[2] for name, _ in VMamba(TINY['v0']).named_parameters()}
    assert set(VMamba.no_weight_decay) <= names


REFUSED = {
    'arch': (dict(arch='tiny'), "unknown arch 'tiny'; known are tiny_s1l8, "),
    'lacking': (dict(arch=dict(depths=[1])), 'the arch dict lacks embed_dims'),
    'unknown': (dict(arch=dict(embed_dims=8, depths=[1], width=3)), 'unknown width; known are'),
    'version': (dict(arch=dict(embed_dims=8, depths=[1], version='v1')), "version 'v1'; known"),
    'depths': (dict(arch=dict(embed_dims=8, depths=3)), 'depths are the numbers of blocks'),
    'out_type': (dict(out_type='cls_token'), "unknown out_type 'cls_token'; known are avg_featmap"),
    'out_indices': (dict(out_indices=4), 'out_indices holds 4, but there are 4 stages'),
    'frozen': (dict(frozen_stages=5), 'frozen_stages is 5, but there are 4 stages'),
    'img_size': (dict(img_size='big'), "img_size must be a positive whole number.* got 'big'"),
}


@pytest.mark.parametrize(('settings', 'message'), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(settings, message):
    with pytest.raises(UserError, match=message), torch.device('meta'):
        VMamba(**settings)


def test_an_image_smaller_than_a_patch():
    model = VMamba(dict(embed_dims=8, depths=(1, 1)))
    with pytest.raises(UserError, match='3 x 40 pixels is smaller than a patch, 4: enlarge it'):
        model(make_images(3, 40))
    assert model(make_images(4, 4))[0].shape == (2, 16)


# Adapters

SIZES_OF_METHODS = {
    'lora_s': ('small_s2l15', dict(type='LoRA', targets=['in_proj'], rank=64), 1_511_424),
    'lora_b': ('base_s2l15', dict(type='LoRA', targets=['mix.in'], rank=16), 503_808),
    'state_s': ('small_s2l15', dict(type='AdditionalScan', num_states=1), 188_928),
    'state_b': ('base_s2l15', dict(type='AdditionalScan', num_states=1), 251_904),
    'affix_s': ('small_s2l15', dict(type='AffixTuning', num_tokens=3), 188_928),
    'affix_b': ('base_s2l15', dict(type='AffixTuning', num_tokens=3), 251_904),
}


@pytest.mark.parametrize(
    ('arch', 'adapter', 'count'), SIZES_OF_METHODS.values(), ids=SIZES_OF_METHODS
)
def test_the_published_sizes_of_methods(arch, adapter, count):
    with torch.device('meta'):
        model = VMamba(arch)
        attach_adapters(model, [adapter])
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


def make_adapted(*adapters, version='v2', **settings):
    torch.manual_seed(0)
    arch = dict(embed_dims=8, depths=(1, 2), version=version)
    module = dict(type='VMamba', arch=arch, **settings)
    return MODELS.build(dict(type='PEFTModel', module=module, adapters=list(adapters))).eval()


def test_each_direction_has_projections_of_its_own():
    model = make_adapted(dict(type='LoRA', targets=['mix.params', 'mix.dt'], rank=2))
    names = {name for name in model.adapter_parameters() if name.startswith('layers.0.')}
    assert names == {
        f'layers.0.blocks.0.op.directions.{k}.{projection}.{part}.weight'
        for k in range(4)
        for projection in ('x_proj', 'dt_proj')
        for part in ('down', 'up')
    }


def test_names_of_vim_stand_for_roles():
    by_name = make_adapted(dict(type='LoRA', targets=['x_proj', 'x_proj_b'], rank=2))
    by_role = make_adapted(dict(type='LoRA', targets=['mix.params'], rank=2))
    assert by_name.adapter_parameters().keys() == by_role.adapter_parameters().keys()
    tuned = make_adapted(dict(type='PartialTuning', patterns=['A_log', 'A_b_log', 'scan.D']))
    assert {n.rpartition('.')[2] for n in tuned.adapter_parameters()} == {'A_logs', 'Ds'}


@pytest.mark.parametrize('targets', [['x_proj'], '.*dt_proj', 'all-linear'], ids=str)
def test_peft_wants_weights_of_a_layers_own(targets):
    pytest.importorskip('peft')
    with pytest.raises(UserError, match='_proj is a slice of a parameter of its mixer'):
        make_adapted(dict(type='HFPeft', peft_type='LORA', r=2, target_modules=targets))


def test_peft_adapts_whole_projections_by_the_names_of_vim(tmp_path):
    peft = pytest.importorskip('peft')
    targets = ['in_proj', 'patch_embed.proj']
    lora = dict(type='HFPeft', peft_type='LORA', r=2, target_modules=targets)
    model = make_adapted(lora, version='v0')
    assert any(name.startswith('patch_embed.0.') for name in model.adapter_parameters())
    model.save_hf(tmp_path)
    torch.manual_seed(0)
    plain = VMamba(dict(embed_dims=8, depths=(1, 2), version='v0')).eval()
    loaded = peft.PeftModel.from_pretrained(plain, str(tmp_path)).eval()
    images = make_images(16, 16)
    torch.testing.assert_close(loaded(images)[0], model(images)[0])


@pytest.mark.parametrize('k', range(4))
def test_affixes_come_first_in_each_direction(k):
    """What the tokens are shows in all positions behind them, for the scan goes over them."""
    model = make_adapted(dict(type='AffixTuning', num_tokens=2))
    op = model.module.layers[0].blocks[0].op
    x = torch.randn(1, 8 * 2, 12, generator=torch.Generator().manual_seed(2))
    scan = op.directions[k].scan
    grid = (3, 4)
    positions = torch.arange(12).view(grid)
    order = (positions.T if k % 2 else positions).flatten()
    order = order.flip(0) if k >= 2 else order
    tokens = scan.tokens.values[:, : x.shape[1]].T[None]
    direction = op.directions[k]
    weights = (direction.x_proj, direction.dt_proj, direction.A_log, direction.D)
    call = ScanCall(torch.cat([tokens, x[..., order]], dim=-1), *weights)
    expected = scan.base_layer(call)[:, 2:]
    actual = scan(ScanCall(x, *weights, reverse=k >= 2, grid=grid if k % 2 else None))
    torch.testing.assert_close(actual[:, order], expected)


def test_a_copy_has_directions_of_its_own():
    model = VMamba(dict(embed_dims=8, depths=(1, 1))).eval()
    copied = copy.deepcopy(model)
    op, twin = model.layers[0].blocks[0].op, copied.layers[0].blocks[0].op
    nn.init.zeros_(op.x_proj_weight)
    assert (op.directions[1].x_proj.weight == 0).all()
    assert (twin.directions[1].x_proj.weight != 0).any()
    assert model.double().layers[0].blocks[0].op.directions[0].A_log.dtype is torch.float64


@pytest.mark.parametrize(
    ('size', 'rank', 'count'), [('small', 64, 1_511_424), ('base', 16, 503_808)]
)
def test_the_configs_of_models(size, rank, count):
    config = Config.fromfile(CONFIGS / '_base_' / 'models' / f'vmamba-{size}-s2l15.py').model
    with torch.device('meta'):
        backbone = MODELS.build(config.backbone.module)
        attach_adapters(backbone, [dict(type='LoRA', targets=['in_proj'], rank=rank)])
    assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == count
    assert config.head.in_channels == backbone.embed_dims
