"""Adapters from papers on transformers, each against its formula in a few lines of plain torch."""

import pytest
import torch
from backbones_for_contracts import BACKBONES
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.sites import sites_of

VIM = BACKBONES['vim']


def build(*adapters, backbone='vim', std=0.3, **settings):
    """An adapted tiny backbone whose own parameters are random."""
    torch.manual_seed(0)
    module = BACKBONES[backbone] | settings
    model = MODELS.build(dict(type='PEFTModel', module=module, adapters=list(adapters)))
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.copy_(torch.randn_like(parameter) * std)
    model.eval()
    return model


def make_images(batch=2):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make_hidden(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


# SSF


def test_ssf_scales_and_shifts_what_has_a_bias():
    model = build(dict(type='SSF'))
    block = model.module.layers[0]
    for layer in (block.mixer.dt_proj, block.mixer.x_proj, model.module.patch_embed.proj):
        x = make_hidden(2, 3, 8, 8) if layer.weight.ndim == 4 else make_hidden(2, layer.in_features)
        expected = layer.base_layer(x).movedim(1, -1) * layer.scale
        expected = expected if layer.shift is None else expected + layer.shift
        torch.testing.assert_close(layer(x).movedim(1, -1), expected)
    assert block.mixer.x_proj.shift is None
    x = make_hidden(2, 5, 16)
    torch.testing.assert_close(block.norm(x), block.norm.scale * block.norm.base_layer(x))


def test_ssf_on_norms_over_channels_of_maps():
    model = build(dict(type='SSF'), backbone='vmamba_v2')
    norm = model.module.get_submodule('patch_embed.2')
    x = make_hidden(2, 4, 3, 5)
    along = (-1, 1, 1)
    expected = norm.scale.view(along) * norm.base_layer(x) + norm.shift.view(along)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize('backbone', BACKBONES)
def test_layernorm_tuning_trains_all_norms_and_nothing_else(backbone):
    model = build(dict(type='PartialTuning', patterns=['norm']), backbone=backbone)
    trained = set(model.adapter_parameters())
    norms = [name for name, module in model.module.named_modules() if is_norm(module)]
    assert trained == {
        f'{name}.{part}'
        for name in norms
        for part, _ in model.module.get_submodule(name).named_parameters()
    }
    assert len(norms) > 2


def is_norm(module):
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d)


def test_norms_have_one_adapter():
    with pytest.raises(UserError, match=r"'.*norm.*' has an adapter already"):
        build(dict(type='SSF'), dict(type='SSF', targets=['norm']))
    sites = sites_of(build(dict(type='SSF')).module)
    assert sites.norms.keys() == sites_of(MODELS.build(VIM)).norms.keys()
