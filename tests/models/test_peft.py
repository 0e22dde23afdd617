"""The wrapper and its adapters: what they compute, what trains, what is saved."""

import copy
import json
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models import MembaModel, PEFTModel, Vim
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.model import HEADER, header_tensor, parse_header
from memba_vision.ops import causal_conv1d, selective_scan
from memba_vision.ops.backends import TABLES
from memba_vision.registry import ADAPTERS

VIM = dict(type='Vim', arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)
LORA = dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=3, scale=0.5, drop_rate=0.1)
LIM = dict(type='LIM')
SITES = ['lora', 'gate']


def build(config, seed=0):
    torch.manual_seed(seed)
    return MODELS.build(config)


def make_memba(seed=0, **settings):
    settings = dict(rank=3, scale=0.5) | settings
    return build(dict(type='MembaModel', module=VIM, **settings), seed)


def make_peft(*adapters, seed=0):
    return build(dict(type='PEFTModel', module=VIM, adapters=list(adapters)), seed)


def make_images(batch=2):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def randomise(model, seed=1, std=0.5):
    """Give every adapter parameter a random value, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model


def features(model, images=None):
    model.eval()
    return model(make_images() if images is None else images)[0]


# Size and names


@pytest.mark.parametrize('site', SITES)
def test_memba_is_a_preset_of_the_wrapper(site):
    memba = make_memba(site=site, num_chunks=3, leak=0.8)
    spelled_out = make_peft(LORA, LIM | dict(site=site, num_chunks=3, leak=0.8))
    expected, actual = memba.state_dict(), spelled_out.state_dict()
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[key], expected[key]) for key in expected if key != HEADER)
    assert torch.equal(features(randomise(spelled_out)), features(randomise(memba)))


def test_adapters_are_named_after_their_places():
    names = set(make_memba().adapter_parameters())
    mixers = [f'layers.{i}.mixer.' for i in range(2)]
    parts = ['in_proj.down', 'in_proj.up', 'gate.up', 'out_proj.down', 'out_proj.up']
    assert names == {f'{mixer}{part}.weight' for mixer in mixers for part in parts}


def test_linear_probing_trains_nothing_in_the_backbone():
    model = make_peft()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert list(model.state_dict()) == [HEADER]
    assert torch.equal(features(model), features(model.module))
    make_peft(seed=0).load_state_dict(model.state_dict())


def test_the_printed_line_is_that_of_peft(capsys):
    peft = pytest.importorskip('peft')
    config = peft.LoraConfig(r=LORA['rank'], target_modules=LORA['targets'])
    peft.get_peft_model(MODELS.build(VIM), config).print_trainable_parameters()
    expected = capsys.readouterr().out
    make_peft(LORA).print_trainable_parameters()
    assert capsys.readouterr().out == expected
    assert expected.startswith('trainable params: 768 || all params: ')


# What is computed


@pytest.mark.parametrize(
    'adapters', [[], [LORA], [LORA, LIM]], ids=['linear_probing', 'lora', 'memba_lora']
)
def test_the_pretrained_function_is_computed_at_step_0(adapters):
    torch.manual_seed(0)
    vim = MODELS.build(VIM)
    expected = features(vim)
    model = PEFTModel(vim, adapters)
    torch.testing.assert_close(features(model), expected)
    model.train()
    torch.testing.assert_close(model(make_images())[0], expected)


def test_site_gate_does_not_compute_the_pretrained_function():
    model = make_memba(site='gate', threshold=0.01)
    torch.manual_seed(0)
    assert not torch.allclose(features(model), features(MODELS.build(VIM)))


def membrane(current, before, num_chunks, leak, threshold):
    """Return the potentials of LIM in one direction, by its definition (Memba, section 4)."""
    length = current.shape[-1]
    chunk = -(-length // num_chunks)
    padded = F.pad(current, (0, num_chunks * chunk - length))
    potentials = [torch.zeros_like(padded[..., :chunk]) if before is None else before]
    for i in range(1, num_chunks + 1):
        v = leak * potentials[i - 1] + padded[..., (i - 1) * chunk : i * chunk]
        potentials.append(torch.where(v > threshold, torch.zeros_like(v), v))
    mean = sum(potentials[1:]) / num_chunks
    return torch.cat(potentials[1:], dim=-1)[..., :length], mean


def scan(mixer, x, suffix):
    """The frozen part of one direction, in its own scan order."""
    weights = dict(mixer.named_parameters())
    x = F.silu(
        causal_conv1d(x, weights[f'conv1d{suffix}.weight'][:, 0], weights[f'conv1d{suffix}.bias'])
    )
    low_rank = weights[f'x_proj{suffix}.weight'] @ x
    delta, B, C = low_rank.split([mixer.dt_rank, 4, 4], dim=1)
    return selective_scan(
        x,
        weights[f'dt_proj{suffix}.weight'] @ delta,
        -weights[f'A{suffix}_log'].exp(),
        B,
        C,
        weights[f'D{suffix}'],
        delta_bias=weights[f'dt_proj{suffix}.bias'],
        delta_softplus=True,
        backend='naive',
    )


def memba_block(layer, residual, means, site, scale, cross_layer, **settings):
    """One block; ``means`` holds the mean potential of either direction, or None."""
    mixer = layer.mixer
    weights = dict(mixer.named_parameters())
    h = residual / (residual.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.norm.weight
    h = h.transpose(1, 2)
    d_inner = mixer.d_inner
    x, z = (weights['in_proj.base_layer.weight'] @ h).split(d_inner, dim=1)
    low_rank = weights['in_proj.down.weight'] @ h
    up_x = weights['in_proj.up.weight'][:d_inner]
    up_z = weights['gate.up.weight'] if site == 'lora' else weights['in_proj.up.weight'][d_inner:]
    x = x + scale * up_x @ low_rank
    merged, next_means = 0, []
    for suffix, before in zip(('', '_b'), means, strict=True):
        order = [-1] if suffix else []
        x_k, z_k, low_rank_k = (tensor.flip(order) for tensor in (x, z, low_rank))
        before = before if cross_layer else None
        if site == 'lora':
            potential, mean = membrane(low_rank_k, before, **settings)
            gate = F.silu(z_k + scale * up_z @ potential)
        else:
            potential, mean = membrane(z_k + scale * up_z @ low_rank_k, before, **settings)
            gate = F.silu(potential)
        merged = merged + (scan(mixer, x_k, suffix) * gate).flip(order) / 2
        next_means.append(mean)
    out = weights['out_proj.base_layer.weight'] @ merged
    out = out + scale * weights['out_proj.up.weight'] @ (weights['out_proj.down.weight'] @ merged)
    return residual + out.transpose(1, 2), next_means


@pytest.mark.parametrize('cross_layer', [True, False], ids=['cross_layer', 'separate_layers'])
@pytest.mark.parametrize('num_chunks', [1, 4, 20])
@pytest.mark.parametrize('site', SITES)
def test_memba_equals_a_reference_by_hand(site, num_chunks, cross_layer):
    settings = dict(num_chunks=num_chunks, leak=0.8, threshold=0.3)
    model = make_memba(site=site, cross_layer=cross_layer, **settings).double()
    randomise(model)
    vim = model.module
    vim.out_type = 'raw'
    residual, means = vim._embed(make_images().double()), (None, None)
    for layer in vim.layers:
        residual, means = memba_block(
            layer, residual, means, site, scale=0.5, cross_layer=cross_layer, **settings
        )
    expected = vim.norm_f(residual)
    actual = features(model, make_images().double())
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    parameters = list(model.adapter_parameters().values())
    torch.testing.assert_close(
        torch.autograd.grad(actual.pow(3).sum(), parameters),
        torch.autograd.grad(expected.pow(3).sum(), parameters),
        rtol=1e-8,
        atol=1e-10,
    )


@pytest.mark.parametrize('site', SITES)
@pytest.mark.parametrize(
    'other', [dict(cross_layer=False), dict(leak=0.5), dict(threshold=9.0), dict(num_chunks=2)],
    ids=str,
)  # fmt: skip
def test_every_setting_of_the_membrane_matters(site, other):
    settings = dict(site=site, leak=0.9, threshold=0.3)
    expected = features(randomise(make_memba(**settings)))
    actual = features(randomise(make_memba(**settings | other)))
    assert not torch.allclose(actual, expected)


@pytest.mark.parametrize('site', SITES)
def test_gradients_flow_through_the_mean_between_blocks(site):
    vim = randomise(make_memba(site=site)).module
    down = vim.layers[0].mixer.in_proj.down.weight
    residual, (mean,) = vim.layers[0](vim._embed(make_images()))
    assert mean.shape == (4, 3 if site == 'lora' else 32, 5)
    assert mean.dtype == torch.float32
    out, _ = vim.layers[1](residual.detach(), (mean,))
    assert torch.autograd.grad(out.square().sum(), down)[0].abs().max() > 0


def test_without_transfer_nothing_is_passed_on():
    vim = make_memba(cross_layer=False).module
    assert vim.layers[0](vim._embed(make_images()))[1] is None


def test_dropout_acts_in_training_alone():
    model = randomise(make_memba(drop_rate=0.5))
    assert torch.equal(features(model), features(model))
    model.train()
    assert not torch.equal(model(make_images())[0], model(make_images())[0])


# Training


@pytest.mark.parametrize('site', SITES)
def test_three_steps_change_the_adapters_and_nothing_else(site):
    model = make_memba(site=site)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(make_images())[0].pow(3).sum().backward()
        optimizer.step()
    adapters = {f'module.{name}' for name in model.adapter_parameters()}
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == adapters


def test_init_weights_does_not_undo_the_adapters():
    model = randomise(make_memba())
    expected = features(model)
    model.init_weights()
    assert torch.equal(features(model), expected)


# Saving and loading


def make_classifier(seed=0, **settings):
    torch.manual_seed(seed)
    backbone = dict(type='MembaModel', module=VIM, rank=3, **settings)
    head = dict(type='LinearClsHead', num_classes=5, in_channels=16)
    return MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))


def test_weights_of_the_wrapper_itself_are_refused():
    weights = dict(type='Pretrained', checkpoint='none.pth')
    with pytest.raises(UserError, match=r'^PEFTModel has no weights of its own, .+ into module'):
        build(dict(type='PEFTModel', module=VIM, init_cfg=weights))


def test_state_dict_holds_the_adapters_and_a_header():
    model = make_memba()
    expected = {f'module.{name}' for name in model.adapter_parameters()} | {HEADER}
    state_dict = model.state_dict()
    assert set(state_dict) == expected
    header = json.loads(bytes(state_dict[HEADER].tolist()))
    assert header['method'] == 'MembaModel'
    assert [adapter['type'] for adapter in header['adapters']] == ['LoRA', 'LIM']
    assert re.fullmatch('[0-9a-f]{64}', header['base'])


def test_state_dict_of_a_classifier_keeps_the_head():
    model = make_classifier()
    names = [f'backbone.module.{name}' for name in model.backbone.adapter_parameters()]
    expected = {*names, f'backbone.{HEADER}', 'head.fc.weight', 'head.fc.bias'}
    assert set(model.state_dict()) == expected
    assert set(model.state_dict(prefix='x.')) == {f'x.{key}' for key in expected}


@pytest.mark.parametrize('site', SITES)
def test_saved_and_loaded_into_a_fresh_classifier(site, tmp_path):
    trained, fresh = make_classifier(site=site), make_classifier(site=site)
    randomise(trained.backbone)
    nn.init.normal_(trained.head.fc.weight)
    torch.save(trained.state_dict(), tmp_path / 'adapters.pth')
    state_dict = torch.load(tmp_path / 'adapters.pth', weights_only=True)
    keys = list(state_dict)
    result = fresh.load_state_dict(state_dict)
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert list(state_dict) == keys
    trained.eval()
    fresh.eval()
    assert torch.equal(fresh(make_images()), trained(make_images()))


def test_adapters_of_the_preset_load_into_the_spelled_out_wrapper():
    trained = randomise(make_memba())
    spelled_out = [
        LORA | dict(targets=('in_proj', 'out_proj')),
        LIM | dict(site='lora', num_chunks=4, leak=0.9, threshold=1.0, cross_layer=True),
    ]
    with_defaults = [spelled_out[0], dict(type='LIM')]
    for adapters in (spelled_out, with_defaults):
        fresh = make_peft(*adapters)
        fresh.load_state_dict(trained.state_dict())
        assert torch.equal(features(fresh), features(trained))


@pytest.mark.parametrize(
    'settings', [dict(site='gate'), dict(leak=0.5), dict(rank=4), dict(cross_layer=False)], ids=str
)
def test_a_checkpoint_of_other_settings_is_an_error(settings):
    with pytest.raises(UserError, match='the checkpoint is of other adapters'):
        make_memba(**settings).load_state_dict(make_memba().state_dict())


@pytest.mark.parametrize('prefix', ['', 'backbone.'], ids=['bare', 'in_a_classifier'])
def test_a_checkpoint_over_another_base_is_an_error(prefix):
    make = make_classifier if prefix else make_memba
    with pytest.raises(UserError, match=r'trained over another base.*init_cfg'):
        make(seed=1).load_state_dict(make(seed=0).state_dict())


def test_all_methods_over_a_base_have_its_fingerprint():
    tuning = dict(type='PartialTuning', patterns=['D', 'D_b'])
    models = [make_memba(), make_peft(), make_peft(LORA), make_peft(tuning)]
    assert len({model.base_fingerprint for model in models}) == 1
    assert models[0].base_fingerprint == models[0].header['base'] != models[3].header['base']
    assert make_memba(seed=1).base_fingerprint != models[0].base_fingerprint


def test_one_bit_of_the_base_matters():
    trained, other = make_memba(), MODELS.build(VIM)
    torch.manual_seed(0)
    other = MODELS.build(VIM)
    with torch.no_grad():
        other.layers[1].mixer.A_log.view(torch.int32)[3, 2] ^= 1
    adapters = trained.header['adapters']
    with pytest.raises(UserError, match='trained over another base'):
        PEFTModel(other, adapters).load_state_dict(trained.state_dict())


@pytest.mark.parametrize('strict', [True, False])
def test_a_checkpoint_without_a_header_is_an_error(strict):
    state_dict = make_memba().state_dict()
    del state_dict[HEADER]
    with pytest.raises(UserError, match='has no adapter header'):
        make_memba().load_state_dict(state_dict, strict=strict)


@pytest.mark.parametrize(('drop_rate', 'fits'), [(0.1, True), (0.0, False)])
def test_a_checkpoint_from_before_a_setting_existed(drop_rate, fits):
    """Settings that a header lacks are taken to have had their defaults."""
    lora = dict(type='LoRA', targets=['in_proj'], rank=2, scale=1.0, drop_rate=drop_rate)
    state_dict = make_peft(lora).state_dict()
    header = parse_header(state_dict[HEADER])
    del header['adapters'][0]['drop_rate']
    state_dict[HEADER] = header_tensor(header)
    if fits:
        make_peft(lora).load_state_dict(state_dict)
    else:
        with pytest.raises(UserError, match='is of other adapters'):
            make_peft(lora).load_state_dict(state_dict)


def test_a_damaged_header_is_an_error():
    state_dict = make_memba().state_dict()
    state_dict[HEADER] = state_dict[HEADER][:-5]
    with pytest.raises(UserError, match=r'adapter header .* cannot be read'):
        make_memba().load_state_dict(state_dict)


@pytest.mark.parametrize('strict', [True, False])
def test_a_missing_key_is_an_error_that_names_it(strict):
    state_dict = make_memba().state_dict()
    del state_dict['module.layers.1.mixer.gate.up.weight']
    with pytest.raises(UserError, match=r'missing module\.layers\.1\.mixer\.gate\.up\.weight'):
        make_memba().load_state_dict(state_dict, strict=strict)


@pytest.mark.parametrize('key', ['module.layers.0.extra', 'module.norm_f.weight'])
def test_an_unexpected_key_is_an_error_that_names_it(key):
    state_dict = make_memba().state_dict()
    state_dict[key] = torch.zeros(16)
    with pytest.raises(UserError, match=f'unexpected {re.escape(key)}'):
        make_memba().load_state_dict(state_dict)


def test_what_is_refused_changes_nothing():
    model = make_memba()
    before = model.state_dict()
    other = randomise(make_memba(leak=0.5)).state_dict()
    with pytest.raises(UserError):
        model.load_state_dict(other)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize('site', SITES)
@pytest.mark.parametrize('backend', [None, 'torch'])
def test_an_empty_batch(monkeypatch, backend, site):
    for table in TABLES.values() if backend else ():
        monkeypatch.setenv(table.variable, backend)
    model = make_memba(site=site).train()
    out = model(make_images(0))[0]
    out.sum().backward()
    assert out.shape == (0, 16)


class WithStatistics(nn.Module):
    """A backbone whose normalisation has running statistics."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(6, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        return (self.norm(self.proj(x)),)


@pytest.mark.parametrize('mode', ['as it is built', 'after train()'])
@pytest.mark.parametrize('norm', [nn.BatchNorm1d, nn.InstanceNorm1d])
def test_statistics_of_the_base_stay_as_they_are(norm, mode):
    torch.manual_seed(0)
    base = WithStatistics()
    base.norm = norm(4, track_running_stats=True)
    base(torch.randn(8, 4, 6))
    expected = base.norm.running_mean.clone()
    model = PEFTModel(base, [LORA | dict(targets=['proj'])])
    if mode == 'after train()':
        model.train()
    model(torch.randn(8, 4, 6) + 3)
    assert torch.equal(base.norm.running_mean, expected)
    assert model.training
    assert model.module.proj.training
    assert not base.norm.training


def test_a_backbone_in_evaluation_mode_stays_in_it():
    model = PEFTModel(WithStatistics().eval(), [LORA | dict(targets=['proj'])])
    assert not model.module.training


class AddedBatchNorm(Adapter):
    """Brings statistics of its own."""

    def attach(self, backbone: nn.Module) -> None:
        """Put a norm behind the projection."""
        backbone.proj = nn.Sequential(backbone.proj, nn.BatchNorm1d(4))


def test_statistics_that_an_adapter_brings_move(monkeypatch):
    monkeypatch.setitem(ADAPTERS.module_dict, 'AddedBatchNorm', AddedBatchNorm)
    model = PEFTModel(WithStatistics(), [dict(type='AddedBatchNorm')]).train()
    model(torch.randn(8, 6) + 3)
    assert model.module.proj[1].running_mean.abs().max() > 0
    assert 'module.proj.1.running_mean' in model.state_dict()
    assert not model.module.norm.running_mean.any()


TUNING = dict(type='PartialTuning', patterns=['*'])


@pytest.mark.parametrize(('patterns', 'moves'), [(['*'], True), (['norm.bias'], False)])
def test_statistics_of_a_norm_that_trains_move_and_are_saved(patterns, moves):
    torch.manual_seed(0)
    make = lambda: PEFTModel(WithStatistics(), [TUNING | dict(patterns=patterns)]).train()  # noqa: E731
    model = make()
    model(torch.randn(8, 6) + 3)
    assert bool(model.module.norm.running_mean.any()) == moves
    saved = model.state_dict()
    assert ('module.norm.running_mean' in saved) == moves
    if moves:
        other = PEFTModel(copy.deepcopy(model.module), [TUNING])
        other.module.norm.reset_running_stats()
        other.header = model.header
        other.load_state_dict(saved)
        assert torch.equal(other.module.norm.running_mean, model.module.norm.running_mean)
        older = {key: tensor for key, tensor in saved.items() if 'running' not in key}
        other.load_state_dict(older)  # of version 0.1, which had not saved them


def test_loading_leaves_the_base_and_a_graph_over_it_alone():
    model = make_peft(LORA)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    versions = {name: p._version for name, p in model.named_parameters() if not p.requires_grad}
    weight = model.module.layers[0].mixer.in_proj.base_layer.weight
    factor = torch.ones((), requires_grad=True)
    graph = (weight * factor).sum()
    found = model.load_state_dict(state)
    assert not (found.missing_keys or found.unexpected_keys)
    graph.backward()
    now = {name: p._version for name, p in model.named_parameters() if not p.requires_grad}
    assert now == versions
    del state['module.layers.0.mixer.in_proj.up.weight']
    with pytest.raises(UserError, match=r'missing .*in_proj\.up'):
        model.load_state_dict(state)


class Tied(nn.Module):
    """A backbone with one layer in two places, and two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.again = self.first
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.second(self.again(self.first(x))),)


def test_tied_layers_stay_tied_and_merge_alone():
    torch.manual_seed(0)
    model = PEFTModel(Tied(), [LORA | dict(targets=['first'])])
    assert model.module.again is model.module.first
    randomise(model)
    model.eval()
    x = torch.randn(2, 4)
    merged, left = model.merge()
    assert not left
    torch.testing.assert_close(merged(x)[0], model(x)[0])
    assert torch.equal(merged.second.weight, model.module.second.weight), 'it has no update'


@pytest.mark.parametrize('change', [dict(img_size=48), dict(dtype=torch.bfloat16)], ids=str)
def test_the_same_base_in_another_form_is_no_other_base(change):
    torch.manual_seed(0)
    base = MODELS.build(VIM)
    other = MODELS.build(VIM | {'img_size': change.get('img_size', 32)})
    other.load_state_dict(base.state_dict())
    other.to(change.get('dtype', torch.float32))
    trained = randomise(PEFTModel(base, [LORA]))
    spoilt = copy.deepcopy(other)
    model = PEFTModel(other, [LORA])
    model.load_state_dict(trained.state_dict())
    found = model.module.layers[0].mixer.in_proj.up.weight
    torch.testing.assert_close(
        found.float(), trained.module.layers[0].mixer.in_proj.up.weight, rtol=1e-2, atol=1e-2
    )
    with torch.no_grad():
        spoilt.layers[1].mixer.D.mul_(1.5)
    with pytest.raises(UserError, match='trained over another base'):
        PEFTModel(spoilt, [LORA]).load_state_dict(trained.state_dict())


# What others look for on a backbone


def test_attributes_of_the_backbone_are_found_on_the_wrapper():
    model = PEFTModel(dict(VIM, out_indices=(0, 1), img_size=(32, 24)), [LORA])
    for name in ('embed_dims', 'num_layers', 'out_indices', 'out_type', 'img_size', 'grid_size'):
        assert getattr(model, name) == getattr(model.module, name)
    assert model.cls_token is model.module.cls_token
    assert model.layers is model.module.layers
    with pytest.raises(AttributeError, match="'Vim' object has no attribute 'embed_dim'"):
        model.embed_dim  # noqa: B018
    copied = copy.deepcopy(model)
    assert copied.layers is not model.layers


@pytest.mark.parametrize(
    ('name', 'depth'),
    [
        ('backbone.module.pos_embed', 0),
        ('backbone.module.layers.0.mixer.in_proj.down.weight', 1),
        ('backbone.module.layers.1.norm.weight', 2),
        ('backbone.module.norm_f.weight', 3),
        ('head.fc.weight', 3),
    ],
)
def test_depth_of_a_parameter_behind_the_wrapper(name, depth):
    model = PEFTModel(VIM, [LORA])
    assert model.get_layer_depth(name, 'backbone.') == (depth, 4)


# Bad settings

MEMBA_ERRORS = {
    'rank': (dict(rank=0), 'rank must be at least 1, got 0'),
    'drop_rate': (dict(drop_rate=1.0), r'drop_rate must be in \[0, 1\), got 1.0'),
    'leak_0': (dict(leak=0.0), r'leak must be in \(0, 1\], got 0.0'),
    'leak_2': (dict(leak=2), r'leak must be in \(0, 1\], got 2'),
    'num_chunks': (dict(num_chunks=0), 'num_chunks must be at least 1, got 0'),
    'threshold': (dict(threshold=float('nan')), 'threshold must be a number, .* got nan'),
    'site': (dict(site='z'), "unknown site 'z'; known are lora, gate"),
    'unknown_target': (
        dict(targets=['in_proj', 'qkv']),
        "target 'qkv' matches no Linear or Conv2d of Vim; possible targets are dt_proj, dt_proj_b, "
        'in_proj, out_proj, patch_embed.proj, x_proj, x_proj_b',
    ),
    'text_for_targets': (dict(targets='in_proj'), "must be a list of layer names, got 'in_proj'"),
    'no_targets': (dict(targets=[]), 'must be a list of layer names'),
    'part_of_a_name': (dict(targets=['roj']), "target 'roj' matches no Linear"),
    'lim_without_in_proj': (dict(targets=['out_proj']), "site 'lora' .* put dict"),
}


@pytest.mark.parametrize(('settings', 'message'), MEMBA_ERRORS.values(), ids=MEMBA_ERRORS)
def test_bad_settings_of_memba(settings, message):
    with pytest.raises(UserError, match=message):
        MembaModel(VIM, **settings)


ADAPTER_ERRORS = {
    'unknown_adapter': ([dict(type='LoRa')], "unknown adapter 'LoRa'; known are .*LIM, LoRA"),
    'no_type': ([dict(rank=3)], 'unknown adapter None; known are'),
    'unknown_setting': ([LORA | dict(ranks=3)], "adapter LoRA: .*'ranks'"),
    'lim_without_lora': ([LIM], "site 'lora' .* put dict"),
    'lim_before_lora': ([LIM, LORA], "site 'lora' .* put dict"),
    'lim_above_another_update': (
        [LORA, dict(type='PartialLoRA', part='x', rank=2), LIM],
        'the last adapter of in_proj, before it',
    ),
    'lim_over_ranks': (
        [
            LORA | dict(targets=['layers.0.mixer.in_proj'], rank=2),
            LORA | dict(targets=['layers.1.mixer.in_proj'], rank=3),
            LIM,
        ],
        r'have the ranks \[2, 3\], .* set cross_layer=False',
    ),
    'two_lims': ([LORA, LIM, LIM], 'use one LIM alone'),
    'two_lims_at_the_gate': ([LIM | dict(site='gate')] * 2, 'use one LIM alone'),
    'lora_twice': ([LORA, LORA], "target 'in_proj' has an adapter already"),
    'lora_after_lim': ([LORA, LIM, LORA], "target 'in_proj' has an adapter already"),
    'a_dict': (dict(LORA), r'adapters must be a list of dict\(type=…, …\), got {'),
    'names': (['LoRA'], r"adapters must be a list of dict\(type=…, …\), got \['LoRA'\]"),
    'a_set_of_targets': ([LORA | dict(targets={'in_proj'})], "layer names, got {'in_proj'}"),
    'switch_lora': (
        [LORA | dict(rank_stabilized='no')],
        "LoRA: rank_stabilized must be True or False, got 'no'",
    ),
    'switch_lim': ([LORA, LIM | dict(cross_layer='off')], "cross_layer must be .*, got 'off'"),
    'switch_hidden': (
        [LORA, dict(type='HiddenLIM', cross_layer=1)],
        'cross_layer must be .* got 1',
    ),
    'switch_vpt': ([dict(type='VPT', deep='no')], "deep must be True or False, got 'no'"),
    'switch_prompt': ([dict(type='PromptTuning', project='no')], "project must be .*, got 'no'"),
    'switch_affix': ([dict(type='AffixTuning', project=None)], 'project must be .*, got None'),
    'lora_in_lora': ([LORA, LORA | dict(targets=['down'])], "target 'down' matches no Linear"),
}


@pytest.mark.parametrize(('adapters', 'message'), ADAPTER_ERRORS.values(), ids=ADAPTER_ERRORS)
def test_bad_adapters(adapters, message):
    with pytest.raises(UserError, match=message):
        PEFTModel(VIM, adapters)


def test_numbers_of_numpy_are_numbers():
    model = PEFTModel(VIM, [LORA | dict(rank=np.int64(2), scale=np.float32(0.5))])
    (settings,) = model.header['adapters']
    assert (settings['rank'], settings['scale']) == (2, 0.5)


def test_settings_that_no_checkpoint_could_state():
    with pytest.raises(UserError, match=r'adapter LoRA: a setting is Fraction\(1, 2\), .*: give'):
        PEFTModel(VIM, [LORA | dict(scale=Fraction(1, 2))])


def test_one_lora_may_name_a_target_twice():
    model = make_peft(LORA | dict(targets=['in_proj', 'mixer.in_proj', 'layers.0.mixer.in_proj']))
    assert set(make_peft(LORA | dict(targets=['in_proj'])).adapter_parameters()) == set(
        model.adapter_parameters()
    )


def test_two_loras_on_different_targets():
    first, second = LORA | dict(targets=['in_proj']), LORA | dict(targets=['out_proj'], rank=2)
    ranks = {
        name.split('.')[3]: parameter.shape[0]
        for name, parameter in make_peft(first, second).adapter_parameters().items()
        if name.endswith('down.weight')
    }
    assert ranks == {'in_proj': 3, 'out_proj': 2}


def test_a_target_may_be_one_layer():
    model = make_peft(LORA | dict(targets=['layers.1.mixer.out_proj']))
    places = {name.rpartition('.')[0] for name in model.adapter_parameters()}
    assert places == {f'layers.1.mixer.out_proj.{part}' for part in ('down', 'up')}


def test_a_backbone_without_mixers_has_no_gate():
    with pytest.raises(UserError, match=r'LIM needs "gate" .*, which Linear has not'):
        PEFTModel(nn.Linear(2, 2), [LIM | dict(site='gate')])


def test_a_failed_target_leaves_the_backbone_as_it_was():
    vim = Vim(**{key: value for key, value in VIM.items() if key != 'type'})
    keys = list(vim.state_dict())
    with pytest.raises(UserError):
        PEFTModel(vim, [LORA | dict(targets=['in_proj', 'qkv'])])
    assert list(vim.state_dict()) == keys
