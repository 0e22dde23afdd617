"""Transformers of mmpretrain and timm: their places, their weights, and adapters on them."""

import pytest
import timm
import torch
from backbones_for_contracts import BACKBONES
from mmpretrain.registry import MODELS
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.model import attach_adapters
from memba_vision.models.sites import sites_of
from memba_vision.runs.presets import read_preset

VIT, SWIN, TIMM = (BACKBONES[name] for name in ('vit', 'swin', 'timm_vit'))
LORA = dict(type='LoRA', rank=3, scale=0.5)


def build(module, *adapters):
    torch.manual_seed(0)
    return MODELS.build(dict(type='PEFTModel', module=module, adapters=list(adapters))).eval()


def make_images(size=32):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def randomised(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    model.eval()  # returns None in mmpretrain's backbones
    return model


def pretrained(module, path, **others):
    return module | dict(init_cfg=dict(type='Pretrained', checkpoint=str(path), **others))


def saved(model, path, prefix=''):
    state = model.state_dict() if isinstance(model, nn.Module) else model
    save_file({f'{prefix}{name}': t.contiguous() for name, t in state.items()}, path)
    return path


def pooled(model, images):
    return model.forward_head(model.forward_features(images), pre_logits=True)


def timm_vit(**settings):
    sizes = dict(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2)
    return randomised(VisionTransformer(**sizes, num_classes=5, **settings))


def timm_swin():
    sizes = dict(img_size=32, embed_dim=8, depths=(1, 2), num_heads=(1, 2), window_size=4)
    return randomised(SwinTransformer(**sizes, num_classes=5))


# --- Places ---------------------------------------------------------------------------------------

ROLES = {'attn.qkv', 'attn.q', 'attn.k', 'attn.v', 'attn.out', 'mlp.fc1', 'mlp.fc2'}
WHOLE = {'block', 'norm', 'embed'}
SEQUENCE = {'patches', 'length'}


@pytest.mark.parametrize(
    ('name', 'stages', 'others'),
    [('vit', [0, 0], SEQUENCE), ('swin', [0, 1, 1], set()), ('timm_vit', [0] * 6, SEQUENCE)],
)
def test_blocks_are_found_in_their_order(name, stages, others):
    sites = sites_of(MODELS.build(BACKBONES[name]))
    assert [block.stage for block in sites.blocks] == stages
    assert all(block.projections.keys() == ROLES for block in sites.blocks)
    assert sites.offered() == ROLES | WHOLE | others
    order = [place.module for place in sites.projections('mlp.fc2')]
    assert order == sorted(order)


@pytest.mark.parametrize('module', [VIT, SWIN, TIMM], ids=lambda module: module['type'])
def test_places_stay_where_they_are_behind_adapters(module):
    targets = ['attn.qkv', 'attn.out', 'mlp.fc1', 'mlp.fc2', 'embed']
    adapted = build(module, LORA | dict(targets=targets))
    assert sites_of(adapted.module) == sites_of(MODELS.build(module))


@pytest.mark.parametrize('module', [VIT, SWIN, TIMM], ids=lambda module: module['type'])
def test_queries_and_values_are_their_rows(module):
    model = build(module, LORA | dict(targets=['attn.q', 'attn.v']))
    layers = [place.module for place in sites_of(model.module).projections('attn.qkv')]
    for path in layers:
        layer = model.module.get_submodule(path)
        width = layer.in_features
        assert [layer.base_layer.rows, layer.rows] == [range(width), range(2 * width, 3 * width)]
        for part in (layer, layer.base_layer):
            nn.init.normal_(part.up.weight)
        hidden = torch.randn(1, 5, width)
        change = (layer(hidden) - layer.base_layer.base_layer(hidden)).chunk(3, dim=-1)
        assert [bool(part.any()) for part in change] == [True, False, True]


@pytest.mark.parametrize(
    ('name', 'roles'),
    [
        # Its queries, keys and values are mixed by heads.
        ('tiny_vit_5m_224', {'attn.qkv', 'attn.out', 'mlp.fc1', 'mlp.fc2', 'block', 'norm'}),
        ('resnet18', {'norm'}),
    ],
)
def test_only_what_is_there_is_offered(name, roles):
    with torch.device('meta'):
        model = timm.create_model(name, num_classes=0)
    assert sites_of(model).offered() == roles


def test_names_in_presets_are_aliases_block_by_block():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(nn.Module() for _ in range(2))
            self.blocks[0].in_proj, self.blocks[1].qkv = nn.Linear(4, 8), nn.Linear(4, 12)

        def sites(self):
            from memba_vision.models.sites import BlockSites, Rows, Sites

            mixer = BlockSites({'mix.in': (Rows('blocks.0.in_proj'),)})
            return Sites((mixer, BlockSites({'attn.qkv': (Rows('blocks.1.qkv'),)})))

    def adapted(*targets):
        model = Mixed()
        attach_adapters(model, [LORA | dict(targets=targets)])
        return {
            name.rpartition('.down')[0] for name, p in model.named_parameters() if 'down' in name
        }

    assert adapted('in_proj') == {'blocks.0.in_proj', 'blocks.1.qkv'}
    assert adapted('mix.in') == {'blocks.0.in_proj'}
    with pytest.raises(UserError, match=r'needs "mix\.out"'):
        adapted('in_proj', 'out_proj')


@pytest.mark.parametrize(
    ('preset', 'expected'),
    [
        ('lora', 12 * 8 * (4 * 384 + 2 * 384)),
        ('lora_embed', 8 * (3 * 16 * 16 + 384)),
        ('parallel_adapter', 12 * 8 * 2 * 384),
        ('dora', 12 * (8 * (4 * 384 + 2 * 384) + 4 * 384)),
        ('cls_token_tuning', 384),
        ('pos_embed_tuning', 197 * 384),
        ('linear_probing', 0),
        ('full_fine_tuning', 21_665_664),
    ],
)
def test_sizes_on_deit_small(preset, expected):
    with torch.device('meta'):
        model = timm.create_model('deit_small_patch16_224', num_classes=0)
        attach_adapters(model, read_preset(preset, dict(rank=8, scale=1.0)).adapters)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


# --- Layers that are not called -------------------------------------------------------------------


def attention_of(name):
    with torch.device('meta'):
        return timm.create_model(name, num_classes=0)


@pytest.mark.parametrize('name', ['beit_base_patch16_224', 'swinv2_tiny_window8_256'])
def test_a_layer_whose_weight_is_read_has_no_adapter(name):
    model = attention_of(name)
    with pytest.raises(UserError, match=r'qkv and does not call it, so an adapter .* no effect'):
        attach_adapters(model, [LORA | dict(targets=['attn.qkv'])])
    attach_adapters(model, [LORA | dict(targets=['attn.out'])])


def test_a_layer_that_is_called_after_all_has_one():
    for block in (model := attention_of('beit_base_patch16_224')).blocks:
        block.attn.qkv_bias_separate = True
    attach_adapters(model, [LORA | dict(targets=['attn.qkv'])])


def test_torchs_own_attention_reads_its_weights():
    model = nn.ModuleDict({'attn': nn.MultiheadAttention(4, 2)})
    with pytest.raises(UserError, match=r'MultiheadAttention reads .* of attn\.out_proj'):
        attach_adapters(model, [LORA | dict(targets=['out_proj'])])


@pytest.mark.parametrize('module', [VIT, SWIN, TIMM], ids=lambda module: module['type'])
@pytest.mark.parametrize('role', ['attn.qkv', 'attn.out', 'mlp.fc1', 'mlp.fc2', 'embed'])
def test_what_is_adapted_has_an_effect(module, role):
    model = build(module, LORA | dict(targets=[role]))
    before = model(make_images())[0]
    for name, parameter in model.adapter_parameters().items():
        if '.up.' in name:
            nn.init.normal_(parameter)
    assert not torch.allclose(model(make_images())[0], before)


# --- Weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_mmpretrains_vit_takes_its_authors_weights(tmp_path, prefix):
    original = timm_vit()
    path = saved(original, tmp_path / 'vit.safetensors', prefix)
    features = build(pretrained(VIT, path))(make_images())[0]
    torch.testing.assert_close(features, pooled(original, make_images()))


def test_mmpretrains_vit_takes_its_own_weights_out_of_a_classifier(tmp_path):
    original = randomised(MODELS.build(VIT))
    states = {f'backbone.{name}': tensor for name, tensor in original.state_dict().items()}
    path = saved(states | {'head.fc.bias': torch.zeros(3)}, tmp_path / 'vit.safetensors')
    for others in ({}, {'prefix': 'backbone.'}):
        model = build(pretrained(VIT, path, **others))
        assert torch.equal(model(make_images())[0], original(make_images())[0])


def test_positions_of_another_size_are_interpolated(tmp_path):
    path = saved(timm_vit(), tmp_path / 'vit.safetensors')
    model = build(pretrained(VIT | dict(img_size=48), path))
    assert model.module.pos_embed.shape == (1, 37, 16)


def as_its_authors_name_it(state):
    """A downsampling belongs to the stage before it, and tables of positions are in the file."""
    state = {
        name.replace('layers.1.downsample', 'layers.0.downsample'): t for name, t in state.items()
    }
    index = torch.zeros(16, 16, dtype=torch.long)
    return state | {'layers.0.blocks.0.attn.relative_position_index': index}


@pytest.mark.parametrize('convert', [dict, as_its_authors_name_it], ids=['timm', 'authors'])
def test_mmpretrains_swin_takes_its_authors_weights(tmp_path, convert):
    original = timm_swin()
    path = saved(convert(original.state_dict()), tmp_path / 'swin.safetensors')
    features = build(pretrained(SWIN, path))(make_images())[0]
    torch.testing.assert_close(features.mean((2, 3)), pooled(original, make_images()))


@pytest.mark.parametrize('module', [VIT, SWIN], ids=lambda module: module['type'])
def test_a_weight_that_is_missing_is_named(tmp_path, module):
    state = MODELS.build(module).state_dict()
    missing = next(name for name in state if name.endswith('ffn.layers.1.weight'))
    del state[missing]
    path = saved(state | {'extra': torch.zeros(1)}, tmp_path / 'part.safetensors')
    with pytest.raises(UserError, match=f'does not fit .*missing {missing}; unexpected extra'):
        build(pretrained(module, path))


def test_weights_of_another_model_are_told(tmp_path):
    path = saved(timm_swin(), tmp_path / 'swin.safetensors')
    for module in (VIT, TIMM):
        with pytest.raises(UserError, match='does not fit VisionTransformer'):
            build(pretrained(module, path))
    wider = VIT | dict(arch=VIT['arch'] | dict(feedforward_channels=48))
    path = saved(timm_vit(), tmp_path / 'vit.safetensors')
    with pytest.raises(UserError, match=r'does not fit VisionTransformer: .*size mismatch'):
        build(pretrained(wider, path))


def test_without_weights_a_backbone_starts_from_random_ones():
    model = build(VIT | dict(init_cfg=dict(type='Pretrained', checkpoint=None)))
    assert model.module.pos_embed.std() > 0


# --- Models of timm -------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['test_vit', 'test_convnext', 'test_resnet'])
def test_features_are_pooled_as_timm_pools_them(tmp_path, name):
    original = randomised(timm.create_model(name))
    path = saved(original, tmp_path / 'timm.safetensors')
    model = build(pretrained(dict(type='TimmModel', model_name=name), path))
    images = make_images(64)
    images = make_images(original.pretrained_cfg['input_size'][-1]) if 'vit' in name else images
    features = model(images)[0]
    assert features.shape == (2, model.embed_dims)
    torch.testing.assert_close(features, pooled(original, images))


def test_a_timm_model_of_another_image_size(tmp_path):
    path = saved(timm.create_model('test_vit'), tmp_path / 'vit.safetensors')
    model = build(pretrained(TIMM, path))
    assert model.img_size == (32, 32)
    assert model(make_images())[0].shape == (2, 64)


def test_depths_are_those_of_timm():
    model = build(TIMM, LORA | dict(targets=['attn.qkv']))
    names = [f'backbone.{name}' for name, _ in model.named_parameters()]
    depths = {name: model.get_layer_depth(name, 'backbone.') for name in names}
    assert depths['backbone.module.model.patch_embed.proj.weight'] == (0, 8)
    assert depths['backbone.module.model.blocks.2.norm1.weight'] == (3, 8)
    assert depths['backbone.module.model.blocks.2.attn.qkv.down.weight'] == (3, 8)
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (7, 8)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(model_name='vit_small_patch16_225'), 'timm has no model .* vit_small_patch16_224'),
        (dict(model_name='resnet18', img_size=32), "resnet18: TypeError: .*'img_size'"),
        (dict(model_name='test_vit', init_cfg=dict(type='Normal')), 'init_cfg is dict'),
    ],
)
def test_what_timm_has_not_is_told(settings, message):
    with pytest.raises(UserError, match=message):
        build(dict(type='TimmModel', **settings))


@pytest.mark.parametrize('module', [VIT, TIMM], ids=['mmpretrain', 'timm'])
def test_an_unknown_setting_of_a_file_is_told(module):
    with pytest.raises(UserError, match='init_cfg has unknown prefx; known are type, checkpoint'):
        build(pretrained(module, 'weights.pth', prefx='backbone'))
