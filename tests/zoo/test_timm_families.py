"""VMamba, Mamba-R and MambaVision under timm's names."""

import pytest
import timm
import torch
from small_families import ARCHS
from timm.models import adapt_input_conv

import memba_vision
from memba_vision.errors import UserError
from memba_vision.timm import MODELS
from memba_vision.zoo.official import OFFICIAL

NAMES = {
    'mamba_reg_small': 'mamba_reg_small_patch16_224',
    **{name: name for name in ('vmamba_tiny_s1l8', 'vmamba_v0_tiny', 'mamba_vision_tiny')},
}
STAGED = [name for name in NAMES if name != 'mamba_reg_small']


def create(name, **settings):
    torch.manual_seed(0)
    return timm.create_model(NAMES[name], arch=ARCHS[name], img_size=32, **settings).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_timm_lists_every_published_checkpoint():
    assert len(MODELS) == len(OFFICIAL)
    assert {*MODELS} <= {*timm.list_models()}
    cfg = timm.get_pretrained_cfg('mamba_vision_tiny')
    assert cfg.license == 'CC-BY-NC-SA-4.0, not for commercial use'
    assert cfg.url == OFFICIAL['mamba_vision_tiny'].url


@pytest.mark.parametrize('name', NAMES)
def test_features_and_heads_are_those_of_the_backbone(name, images):
    model = create(name, num_classes=5)
    assert model(images).shape == (2, 5)
    pooled = model.forward_head(model.forward_features(images), pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size)
    plain = memba_vision.get_model(name, arch=ARCHS[name], img_size=32).backbone
    own = {n: t for n, t in model.state_dict().items() if not n.startswith('head.')}
    plain.load_state_dict(own)
    torch.testing.assert_close(plain(images)[0], pooled)
    model.reset_classifier(3)
    assert model(images).shape == (2, 3)
    with pytest.raises(UserError, match='global_pool must be one of'):
        model.reset_classifier(3, 'fast')


@pytest.mark.parametrize('name', NAMES)
def test_official_files_load_strictly(name, images, tmp_path):
    source = create(name, num_classes=5)
    weights = {n: t + 0.1 for n, t in source.state_dict().items() if t.is_floating_point()}
    torch.save({OFFICIAL[name].key: {**source.state_dict(), **weights}}, tmp_path / 'w.pth')
    overlay = dict(file=str(tmp_path / 'w.pth'), num_classes=5)
    settings = dict(pretrained=True, pretrained_cfg_overlay=overlay)
    model = create(name, num_classes=5, **settings)
    assert all(torch.equal(model.state_dict()[n], t) for n, t in weights.items())
    grey = create(name, num_classes=7, in_chans=1, **settings)
    assert grey(images[:, :1]).shape == (2, 7)
    conv = next(n for n, t in weights.items() if t.ndim == 4)
    assert torch.equal(grey.state_dict()[conv], adapt_input_conv(1, weights[conv]))
    wrong = {n: t for n, t in weights.items() if not n.endswith('out_proj.weight')}
    torch.save({OFFICIAL[name].key: wrong}, tmp_path / 'w.pth')
    with pytest.raises(UserError, match='missing'):
        create(name, **settings)


@pytest.mark.parametrize('name', STAGED)
def test_maps_of_stages(name, images):
    model = create(name, features_only=True, out_indices=range(len(ARCHS[name]['depths'])))
    maps = model(images)
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [32 // m.shape[2] for m in maps] == model.feature_info.reduction()
    model = create(name)
    last, chosen = model.forward_intermediates(images, 1, output_fmt='NLC')
    assert torch.equal(chosen[0], last.flatten(2).transpose(1, 2))
    with pytest.raises(UserError, match='no stages'):
        model.forward_intermediates(images, [9])
    with pytest.raises(UserError, match='output_fmt must be one of'):
        model.forward_intermediates(images, output_fmt='HW')


@pytest.mark.parametrize('name', STAGED)
def test_what_optimizers_ask_for(name, images):
    from timm.optim import create_optimizer_v2

    model = create(name, num_classes=5)
    create_optimizer_v2(model, opt='adamw', lr=1e-3, layer_decay=0.7)
    model.set_grad_checkpointing()
    model.train()
    model(images).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
