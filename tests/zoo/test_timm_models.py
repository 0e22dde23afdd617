"""Vim under timm's names."""

import argparse

import pytest
import timm
import torch
from timm.models import adapt_input_conv

from memba_vision.errors import UserError
from memba_vision.models import Vim
from memba_vision.models.backbones.vim import resize_pos_embed
from memba_vision.zoo.timm_models import MODELS, TimmVim

SMALL = dict(arch=dict(embed_dims=16, num_layers=3), img_size=32, patch_size=8, stride=8)


def make(**settings) -> TimmVim:
    torch.manual_seed(0)
    return TimmVim(**{'num_classes': 5, **SMALL, **settings}).eval()


def without_class_token(tokens):
    return torch.cat([tokens[:, :8], tokens[:, 9:]], dim=1)


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_timm_lists_and_creates_them():
    assert timm.list_models('vim_*') == sorted(n for n in MODELS if n.startswith('vim'))
    assert 'vim_small_patch16_224' in timm.list_pretrained('vim_*')
    with torch.device('meta'):
        model = timm.create_model('vim_small_patch16_224', num_classes=7)
        larger = timm.create_model('vim_tiny_patch16_stride8_224', in_chans=1)
    assert model.head.out_features == model.num_classes == 7
    assert sum(p.numel() for n, p in model.named_parameters() if 'head' not in n) == 25_411_584
    assert model.default_cfg['url'].endswith('vim_s_midclstok_80p5acc.pth')
    assert timm.data.resolve_data_config({}, model=model)['input_size'] == (3, 224, 224)
    assert larger.num_patches == 27 * 27
    assert larger.patch_embed.proj.in_channels == 1


def test_the_parts_of_the_forward_pass(images):
    model = make()
    tokens = model.forward_features(images)
    assert tokens.shape == (2, 17, 16)
    assert torch.equal(model.forward_head(tokens), model(images))
    assert torch.equal(model.forward_head(tokens, pre_logits=True), tokens[:, 8])
    vim = Vim(**SMALL)
    vim.load_state_dict({n: w for n, w in model.state_dict().items() if 'head' not in n})
    assert torch.equal(vim.eval()(images)[0], tokens[:, 8])
    mean = make(global_pool='avg').forward_head(tokens, pre_logits=True)
    assert torch.allclose(mean, (tokens.sum(1) - tokens[:, 8]) / 16, atol=1e-6)


def test_another_head(images):
    model = make()
    model.reset_classifier(3)
    assert model(images).shape == (2, 3)
    model.reset_classifier(0, 'avg')
    assert model(images).shape == (2, 16)
    assert model.get_classifier() is model.head
    with pytest.raises(UserError, match="one of '', 'token', 'avg', 'max', 'avgmax', got 'mean'"):
        model.reset_classifier(3, 'mean')


def test_intermediate_features(images):
    model = make()
    tokens, maps = model.forward_intermediates(images, indices=2)
    assert torch.equal(tokens, model.forward_features(images))
    assert [m.shape for m in maps] == [(2, 16, 4, 4)] * 2
    (first,) = model.forward_intermediates(images, [0], output_fmt='NLC', intermediates_only=True)
    assert torch.equal(first, without_class_token(model.block_outputs(images, {0})[0]))
    ((last, class_token),) = model.get_intermediate_layers(
        images, norm=True, return_prefix_tokens=True
    )
    assert torch.equal(last, without_class_token(tokens))
    assert torch.equal(class_token, tokens[:, 8:9])
    (channels_last,) = model.forward_intermediates(
        images, [2], output_fmt='NHWC', intermediates_only=True
    )
    assert torch.equal(channels_last, maps[-1].permute(0, 2, 3, 1))
    with pytest.raises(UserError, match="NCHW, NHWC, NCL, NLC, got 'HWC'"):
        model.forward_intermediates(images, output_fmt='HWC')


def test_features_only(images):
    model = timm.create_model(
        'vim_tiny_patch16_224', features_only=True, out_indices=(0, 2), **SMALL
    )
    assert [feature.shape for feature in model(images)] == [(2, 16, 4, 4)] * 2
    assert model.feature_info.channels() == [16, 16]
    assert model.feature_info.reduction() == [8, 8]


def test_what_optimizers_ask_for():
    model = make()
    spared = model.no_weight_decay()
    assert {'cls_token', 'pos_embed', 'layers.2.mixer.A_b_log', 'layers.0.mixer.D'} <= spared
    assert spared <= {name for name, _ in model.named_parameters()}
    model.set_grad_checkpointing()
    assert model.with_cp


def test_official_checkpoints_load_strictly(tmp_path, images):
    source = make()
    path = tmp_path / 'vim.pth'
    torch.save({'model': source.state_dict(), 'epoch': 300}, path)
    settings = dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(path), custom_load=True))
    same = timm.create_model('vim_tiny_patch16_224', num_classes=5, **settings, **SMALL).eval()
    assert torch.equal(same(images), source(images))
    other = timm.create_model('vim_tiny_patch16_224', num_classes=9, **settings, **SMALL).eval()
    assert torch.equal(other.forward_features(images), source.forward_features(images))
    larger = {**SMALL, 'img_size': 48}
    grown = timm.create_model('vim_tiny_patch16_224', num_classes=5, **settings, **larger)
    assert torch.equal(grown.pos_embed, resize_pos_embed(source.pos_embed, 6))
    torch.save({'model': {**source.state_dict(), 'more': torch.ones(1)}}, path)
    with pytest.raises(UserError, match='unexpected more'):
        make().load_pretrained(str(path))


def test_checkpoints_from_elsewhere_load_too(tmp_path, images):
    source = make()
    weights = {f'module.{name}': tensor for name, tensor in source.state_dict().items()}
    del weights['module.head.bias']
    torch.save({'model_ema': weights}, tmp_path / 'vim.pth')
    model = make()
    model.load_pretrained(str(tmp_path / 'vim.pth'))
    with torch.no_grad():
        expected = source(images) - source.head.bias
        torch.testing.assert_close(model(images), expected, rtol=1e-5, atol=1e-6)
    name = 'vim_tiny_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_cls_token'
    content = {'model': source.state_dict(), 'args': argparse.Namespace(model=name)}
    torch.save(content, tmp_path / 'vim.pth')
    with pytest.raises(UserError, match='its class token, if any, is not in the middle, and its d'):
        model.load_pretrained(str(tmp_path / 'vim.pth'))


def test_blocks_that_are_not_there(images):
    with pytest.raises(UserError, match='there are'):
        make().forward_intermediates(images, [99])


# What timm's own models do


def make_vit(**settings):
    sizes = dict(img_size=32, patch_size=8, embed_dim=16, depth=3, num_heads=2, num_classes=5)
    return timm.create_model('vit_tiny_patch16_224', **{**sizes, **settings}).eval()


def create(**settings):
    return timm.create_model('vim_tiny_patch16_224', **{'num_classes': 5, **SMALL, **settings})


def shapes(value):
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, dict):
        return {name: shapes(part) for name, part in value.items()}
    return [type(value), *map(shapes, value)]


def after(name, *arguments):
    """Logits after another call; sized images where that sets a size."""

    def call(model, images):
        getattr(model, name)(*arguments)
        size = arguments[0] if name == 'set_input_size' else (32, 32)
        return model(torch.zeros(2, 3, *size))

    return call


def intermediates(*arguments, **options):
    return lambda model, images: model.forward_intermediates(images, *arguments, **options)


def layers(*arguments, **options):
    return lambda model, images: model.get_intermediate_layers(images, *arguments, **options)


CALLS = {
    'features': lambda model, images: model.forward_features(images),
    'logits': lambda model, images: model(images),
    'pre_logits': lambda m, images: m.forward_head(m.forward_features(images), pre_logits=True),
    'max': after('reset_classifier', 3, 'max'),
    'avgmax': after('reset_classifier', 3, 'avgmax'),
    'all tokens': after('reset_classifier', 3, ''),
    'no head': after('reset_classifier', 0),
    'no head, all tokens': after('reset_classifier', 0, ''),
    'another size': after('set_input_size', (48, 32)),
    'another size and patch': after('set_input_size', (48, 32), (16, 8)),
    'intermediates': intermediates(),
    'last two': intermediates(2),
    'some': intermediates([-1, 0]),
    'stop early': intermediates([0], stop_early=True, norm=True),
    'only': intermediates([1], intermediates_only=True),
    'NLC': intermediates([0, 1], output_fmt='NLC'),
    'prefix': intermediates([0, 1], return_prefix_tokens=True),
    'dict': intermediates([0], output_dict=True),
    'dict, prefix': intermediates([0], output_dict=True, return_prefix_tokens=True),
    'dict, only': intermediates([0], output_dict=True, intermediates_only=True),
    'layers': layers(),
    'layers by number': layers([0, 2], reshape=True),
    'layers, prefix': layers(2, return_prefix_tokens=True, norm=True),
    'pruned': lambda model, images: (model.prune_intermediate_layers([0, 1]), model(images))[1],
}


@pytest.mark.parametrize('name', CALLS)
def test_calls_yield_what_they_yield_on_timms_vision_transformer(name, images):
    assert shapes(CALLS[name](make(), images)) == shapes(CALLS[name](make_vit(), images))


BUILT = {
    'one channel': (dict(in_chans=1), (1, 32, 32)),
    'a rectangle': (dict(img_size=(48, 32)), (3, 48, 32)),
    'any size': (dict(dynamic_img_size=True), (3, 48, 24)),
    'max': (dict(global_pool='max'), (3, 32, 32)),
    'all tokens': (dict(global_pool=''), (3, 32, 32)),
    'bfloat16': (dict(dtype=torch.bfloat16), (3, 32, 32)),
    'no shapes': (dict(device='meta'), (3, 32, 32)),
    'features': (dict(features_only=True), (3, 32, 32)),
    'a feature': (dict(features_only=True, out_indices=(-2,)), (3, 32, 32)),
    'features of a rectangle': (dict(features_only=True, img_size=(48, 32)), (3, 48, 32)),
    'hooked': (dict(features_only=True, out_indices=(0, 2), feature_cls='hook'), (3, 32, 32)),
}


@pytest.mark.parametrize('name', BUILT)
def test_settings_do_what_they_do_on_timms_vision_transformer(name):
    settings, size = BUILT[name]
    outputs, infos = [], []
    for build in (create, make_vit):
        model = build(**settings).eval()
        parameter = next(model.parameters())
        images = torch.zeros(2, *size, device=parameter.device, dtype=parameter.dtype)
        # Meta tensors have no kernels here.
        outputs.append(shapes(model(images)) if parameter.device.type != 'meta' else None)
        info = getattr(model, 'feature_info', None)
        reductions = info.reduction() if hasattr(info, 'reduction') else []
        infos.append((parameter.device, parameter.dtype, reductions))
    assert outputs[0] == outputs[1]
    assert infos[0] == infos[1]


@pytest.mark.parametrize(
    ('features', 'shape', 'output_fmt'),
    [
        (dict(output_fmt='NHWC'), (2, 4, 4, 16), 'NHWC'),
        (dict(feature_cls='hook'), (2, 17, 16), 'NLC'),
        (dict(norm=True), (2, 16, 4, 4), 'NCHW'),
    ],
    ids=str,
)
def test_features_by_a_config_of_their_own(features, shape, output_fmt, images):
    model = create(features_only=True, feature_cfg=dict(out_indices=(0, 1), **features))
    assert [feature.shape for feature in model(images)] == [shape] * 2
    assert model.output_fmt == output_fmt


@pytest.mark.parametrize('options', [dict(stop_early=True), dict(intermediates_only=True)], ids=str)
def test_blocks_behind_the_last_one_are_not_run(options, images):
    model, ran = make(), []
    for number, layer in enumerate(model.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    model.forward_intermediates(images, [0, 1], **options)
    assert ran == [0, 1]


def test_blocks_behind_the_last_feature_are_dropped(images):
    whole = create(features_only=True, out_indices=(0, 1, 2))
    pruned = create(features_only=True, out_indices=(1,))
    pruned.model.load_state_dict(whole.model.state_dict(), strict=False)
    assert len(pruned.model.layers) == 2
    assert not hasattr(pruned.model.norm_f, 'weight')
    assert torch.equal(pruned.eval()(images)[0], whole.eval()(images)[1])


def test_pools_are_over_patches(images):
    model = make()
    tokens = model.forward_features(images)
    patches = without_class_token(tokens)
    assert torch.equal(model.pool(tokens, 'max'), patches.amax(1))
    assert torch.allclose(model.pool(tokens, 'avgmax'), (patches.amax(1) + patches.mean(1)) / 2)
    assert model.pool(tokens, '') is tokens


def test_another_input_size_interpolates_the_position_embedding():
    model, images = make(), torch.randn(1, 3, 48, 32)
    positions = model.pos_embed.detach().clone()
    dynamic = make(dynamic_img_size=True)
    model.set_input_size((48, 32))
    assert torch.equal(model.pos_embed, resize_pos_embed(positions, (6, 4)))
    assert torch.equal(model(images), dynamic(images))
    assert torch.equal(
        dynamic.forward_intermediates(images, 1)[1][0].flatten(2).transpose(1, 2),
        model.get_intermediate_layers(images)[0],
    )
    model.set_input_size((32, 48))
    assert model.pos_embed.shape == (1, 25, 16)
    assert model.grid_size == (4, 6)
    with pytest.raises(UserError, match='smaller than a patch'):
        dynamic(torch.zeros(1, 3, 4, 32))
    with pytest.raises(UserError, match='overlap'):
        make(stride=4).set_input_size(patch_size=16)


# Weights and what belongs to them


@pytest.mark.parametrize('tag', ['', '.in1k'])
def test_the_data_are_prepared_as_the_authors_evaluate(tag):
    with torch.device('meta'):
        model = timm.create_model(f'vim_tiny_patch16_224{tag}')
    data = timm.data.resolve_model_data_config(model)
    assert data['crop_pct'] == 0.875
    assert data['interpolation'] == 'bicubic'
    assert data['mean'] == timm.data.IMAGENET_DEFAULT_MEAN
    resize = timm.data.create_transform(**data).transforms[0]
    assert resize.size == 256
    assert f'vim_tiny_patch16_224{tag}' in timm.list_pretrained('vim_*')


LOADS = {
    "timm's own loading": lambda path: dict(
        pretrained=True, pretrained_cfg_overlay=dict(file=str(path), num_classes=5)
    ),
    'ours': lambda path: dict(
        pretrained=True,
        pretrained_cfg_overlay=dict(file=str(path), num_classes=5, custom_load=True),
    ),
    'checkpoint_path': lambda path: dict(checkpoint_path=str(path)),
}


@pytest.fixture
def saved(tmp_path):
    source, path = make(), tmp_path / 'vim.pth'
    torch.save({'model': source.state_dict(), 'epoch': 300}, path)
    return source, path


@pytest.mark.parametrize('way', LOADS)
@pytest.mark.parametrize('img_size', [32, 48, (48, 24)], ids=str)
def test_a_local_file_is_loaded_at_any_size(saved, way, img_size):
    source, path = saved
    model = create(img_size=img_size, **LOADS[way](path))
    size = (6, 3) if isinstance(img_size, tuple) else img_size // 8
    assert torch.equal(model.pos_embed, resize_pos_embed(source.pos_embed, size))
    others = {n: w for n, w in model.state_dict().items() if n != 'pos_embed'}
    assert all(torch.equal(w, source.state_dict()[n]) for n, w in others.items())


@pytest.mark.parametrize('way', ["timm's own loading", 'ours'])
@pytest.mark.parametrize('in_chans', [1, 4])
def test_the_first_convolution_is_adapted_to_other_channels(saved, way, in_chans):
    source, path = saved
    model = create(in_chans=in_chans, **LOADS[way](path))
    expected = adapt_input_conv(in_chans, source.patch_embed.proj.weight)
    assert torch.equal(model.patch_embed.proj.weight, expected)
    assert torch.equal(model.head.weight, source.head.weight)


@pytest.mark.parametrize('way', ["timm's own loading", 'ours'])
@pytest.mark.parametrize('settings', [dict(num_classes=9), dict(features_only=True)], ids=str)
def test_a_file_that_does_not_fit_is_not_loaded_in_part(saved, way, settings):
    """timm is not strict where the head has other classes."""
    source, path = saved
    weights = source.state_dict()
    del weights['layers.2.norm.weight']
    torch.save({'model': {**weights, 'more': torch.ones(1)}}, path)
    with pytest.raises(UserError, match=r'missing layers\.2\.norm\.weight; unexpected more'):
        create(**{**LOADS[way](path), **settings})
