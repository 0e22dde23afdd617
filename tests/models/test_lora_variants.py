"""rsLoRA, LoRA+, PiSSA and OLoRA: settings of LoRA, and the learning rates that they ask for."""

import pytest
import torch
from backbones_for_contracts import BACKBONES
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.engine.optim import TrainableOptimWrapperConstructor, check_rates
from memba_vision.errors import UserError
from memba_vision.models.peft.model import attach_adapters
from memba_vision.registry import OPTIM_WRAPPER_CONSTRUCTORS

LORA = dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=4, scale=0.5, drop_rate=0.0)
LIM = dict(type='LIM')
PLUS = LORA | dict(up_lr_factor=16.0)


def build(*adapters, backbone='vim'):
    torch.manual_seed(0)
    module = BACKBONES[backbone]
    return MODELS.build(dict(type='PEFTModel', module=module, adapters=list(adapters))).eval()


def make_classifier(*adapters):
    head = dict(type='LinearClsHead', num_classes=3, in_channels=16)
    return MODELS.build(dict(type='ImageClassifier', backbone=build(*adapters), head=head))


def test_rslora_divides_by_the_root_of_the_rank():
    layer = build(LORA | dict(rank_stabilized=True)).module.layers[0].mixer.in_proj
    nn.init.normal_(layer.up.weight)
    hidden = torch.randn(3, 16)
    change = 0.5 / 2 * layer.up.weight @ layer.down.weight
    torch.testing.assert_close(layer(hidden), layer.base_layer(hidden) + hidden @ change.T)


@pytest.mark.parametrize('backbone', ['vim', 'timm_vit'])
def test_pissa_starts_from_the_best_approximation(backbone):
    layer = started('pissa', backbone)
    weight, product = layer.base_layer.weight, 0.5 * layer.up.weight @ layer.down.weight
    values = torch.linalg.svdvals(weight)
    torch.testing.assert_close(torch.linalg.svdvals(product)[:4], values[:4])
    torch.testing.assert_close(torch.linalg.matrix_norm(weight - product, 2), values[4])
    torch.testing.assert_close(layer.up.weight.norm(dim=0), layer.down.weight.norm(dim=1))


def test_olora_starts_from_orthonormal_columns():
    layer = started('olora')
    weight, up, down = layer.base_layer.weight, layer.up.weight, layer.down.weight
    torch.testing.assert_close(up.T @ up, torch.eye(4))
    torch.testing.assert_close((up @ down)[:, :4], weight[:, :4])  # R is triangular
    torch.testing.assert_close(down, up.T @ weight)


def started(init, backbone='vim'):
    layers = build(LORA | dict(init=init), backbone=backbone).module.modules()
    return next(layer for layer in layers if hasattr(layer, 'start_up'))


@pytest.mark.parametrize('init', ['pissa', 'olora'])
def test_the_part_is_taken_out_of_the_weight(init):
    layer = started(init)
    weight = layer.base_layer.weight - 0.5 * layer.start_up @ layer.start_down
    hidden = torch.randn(3, layer.in_features)
    torch.testing.assert_close(layer(hidden), layer.base_layer(hidden))
    for part in (layer.up, layer.down):
        nn.init.normal_(part.weight)
    weight = weight + 0.5 * layer.up.weight @ layer.down.weight
    torch.testing.assert_close(layer(hidden), hidden @ weight.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('init', ['pissa', 'olora'])
def test_a_weight_gives_the_directions_that_it_has(init):
    layer = build(LORA | dict(init=init, rank=20)).module.layers[0].mixer.in_proj
    assert layer.start_down.shape == (16, 16)
    whole = layer.start_up @ layer.start_down * (0.5 if init == 'pissa' else 1)
    torch.testing.assert_close(whole, layer.base_layer.weight)
    assert not layer.up.weight[:, 16:].any()
    assert layer.down.weight[16:].all()


@pytest.mark.parametrize('init', ['pissa', 'olora'])
def test_a_checkpoint_holds_the_start_and_no_weights_of_the_base(init):
    names = {name.rpartition('in_proj.')[2] for name in build(LORA | dict(init=init)).state_dict()}
    assert names >= {'down.weight', 'up.weight', 'start_down', 'start_up'}
    assert not any('base_layer' in name for name in names)


def test_the_header_names_what_is_not_the_default():
    names = 'rank_stabilized', 'up_lr_factor', 'init'
    plain = build(LORA | dict.fromkeys(names[1:2], 1.0)).header['adapters'][0]
    assert not {*names} & {*plain}, 'older files have the same header'
    assert build(LORA | dict(init='pissa')).header['adapters'][0]['init'] == 'pissa'
    other = build(LORA | dict(rank_stabilized=True)).state_dict()
    with pytest.raises(UserError, match='the checkpoint is of other adapters'):
        build(LORA).load_state_dict(other)


# Learning rates


def rates(model, constructor=None):
    build_wrapper = constructor or TrainableOptimWrapperConstructor
    config = dict(optimizer=dict(type='AdamW', lr=0.25, weight_decay=0.5))
    optimizer = build_wrapper(config)(model).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = optimizer.param_groups
    return optimizer, {names[id(p)]: group['lr'] for group in groups for p in group['params']}


@pytest.mark.parametrize('adapters', [[PLUS], [PLUS, LIM]], ids=['alone', 'below_a_membrane'])
def test_lora_plus_has_a_higher_rate_for_up_alone(adapters):
    model = make_classifier(*adapters)
    optimizer, found = rates(model)
    assert {name for name, rate in found.items() if rate == 4.0} == {
        name for name in found if name.endswith('up.weight')
    }
    assert {rate for name, rate in found.items() if 'up.weight' not in name} == {0.25}
    assert [group['weight_decay'] for group in optimizer.param_groups] == [0.5, 0.5, 0.0]
    check_rates(model, optimizer)


def test_without_it_there_are_two_groups():
    optimizer, found = rates(make_classifier(LORA))
    assert len(optimizer.param_groups) == 2
    assert set(found.values()) == {0.25}


def test_an_optimizer_without_the_rates_is_refused():
    model = make_classifier(PLUS)
    optimizer, _ = rates(model, OPTIM_WRAPPER_CONSTRUCTORS.get('DefaultOptimWrapperConstructor'))
    with pytest.raises(UserError, match=r"set optim_wrapper\.constructor to 'TrainableOptim"):
        check_rates(model, optimizer)
    with pytest.raises(UserError, match=r'set optim_wrapper\.optimizer\.lr'):
        TrainableOptimWrapperConstructor(dict(optimizer=dict(type='AdamW')))(model)


# What is refused


ERRORS = {
    'init': ([LORA | dict(init='svd')], "unknown init 'svd'; known are zero, pissa, olora"),
    'factor': ([LORA | dict(up_lr_factor=0)], 'up_lr_factor must be above 0, got 0'),
    'scale': ([LORA | dict(init='pissa', scale=0)], 'needs a scale above 0, got 0'),
    'part': ([LORA | dict(init='pissa', targets=['mix.x'])], 'not for mix.x: leave that out'),
    'embed': ([LORA | dict(init='pissa', targets=['embed'])], r'not for patch_embed\.proj: leave'),
    'membrane': ([LORA | dict(init='pissa'), LIM], "init='zero'"),
    'hidden': ([LORA | dict(init='pissa'), dict(type='HiddenLIM')], "init='zero'"),
}


@pytest.mark.parametrize(('adapters', 'message'), ERRORS.values(), ids=ERRORS)
def test_what_is_refused(adapters, message):
    with pytest.raises(UserError, match=message):
        build(*adapters)


@pytest.mark.parametrize(
    'settings', [dict(groups=3), dict(padding=1, padding_mode='reflect')], ids=str
)
def test_convolutions_that_it_does_not_fold_into_are_refused(settings):
    backbone = MODELS.build(BACKBONES['vim'])
    backbone.patch_embed.proj = nn.Conv2d(3, 18, 8, 8, **settings)
    name, value = list(settings.items())[-1]
    with pytest.raises(UserError, match=f'embed.proj is a convolution with .*{name}={value!r}'):
        attach_adapters(backbone, [LORA | dict(targets=['in_proj', 'embed'])])
    assert not any(hasattr(module, 'base_layer') for module in backbone.modules())


def test_the_files_of_peft_do_not_hold_a_start(tmp_path):
    with pytest.raises(UserError, match='export it --as merged'):
        build(LORA | dict(init='pissa')).save_hf(tmp_path)
