"""Vim under timm's names."""

import argparse
import subprocess
import sys

import pytest
import timm
import torch
from helpers import IMPORT_ROOT

from memba_vision.apis.timm_models import MODELS, TimmVim
from memba_vision.errors import UserError
from memba_vision.models import Vim
from memba_vision.models.backbones.vim import resize_pos_embed

SMALL = dict(arch=dict(embed_dims=16, num_layers=3), img_size=32, patch_size=8, stride=8)


def make(**settings) -> TimmVim:
    torch.manual_seed(0)
    return TimmVim(**{'num_classes': 5, **SMALL, **settings}).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_timm_lists_and_creates_them():
    assert timm.list_models('vim_*') == sorted(MODELS)
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
    with pytest.raises(UserError, match="'token' or 'avg', got 'max'"):
        model.reset_classifier(3, 'max')


def test_intermediate_features(images):
    model = make()
    tokens, maps = model.forward_intermediates(images, indices=2)
    assert torch.equal(tokens, model.forward_features(images))
    assert [m.shape for m in maps] == [(2, 16, 4, 4)] * 2
    (first,) = model.forward_intermediates(images, [0], output_fmt='NLC', intermediates_only=True)
    assert torch.equal(first, model.block_outputs(images, {0})[0])
    (last,) = model.forward_intermediates(
        images, [-1], norm=True, output_fmt='NLC', intermediates_only=True
    )
    assert torch.equal(last, tokens)


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


def test_images_are_square():
    with pytest.raises(UserError, match=r'square images, got img_size \(32, 48\)'):
        make(img_size=(32, 48))


@pytest.mark.slow
def test_timm_may_be_imported_first():
    """Everywhere else in these tests it comes second."""
    code = "import timm, memba_vision; assert timm.is_model('vim_small_patch16_224')"
    subprocess.run([sys.executable, '-c', code], check=True, cwd=IMPORT_ROOT, capture_output=True)
