import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from memba_vision.engine.optim import (
    SLOW_BFLOAT16,
    BFloat16OptimWrapper,
    TrainableOptimWrapperConstructor,
    multiplies_bfloat16,
    split_by_decay,
)
from memba_vision.errors import UserError
from memba_vision.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS


class Exempt(nn.Module):
    no_weight_decay = ('A_log',)

    def __init__(self) -> None:
        super().__init__()
        self.A_log = nn.Parameter(torch.ones(2, 3))
        self.weight = nn.Parameter(torch.ones(2, 3))


@pytest.fixture
def model() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), Exempt(), nn.Linear(2, 1))
    model[3].requires_grad_(False)
    return model


def test_vectors_and_what_a_module_exempts_are_not_decayed(model):
    decayed, not_decayed = (list(map(id, group)) for group in split_by_decay(model))
    assert decayed == [id(model[0].weight), id(model[2].weight)]
    assert not_decayed == [
        id(p) for p in (model[0].bias, model[1].weight, model[1].bias, model[2].A_log)
    ]


def test_timms_way_to_say_what_is_not_decayed():
    model = Exempt()
    model.no_weight_decay = lambda: {'block.A_log'}
    decayed, not_decayed = split_by_decay(model)
    assert [*map(id, decayed)] == [id(model.weight)]
    assert [*map(id, not_decayed)] == [id(model.A_log)]


def test_optimizer_gets_two_groups(model):
    config = dict(optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.5))
    wrapper = TrainableOptimWrapperConstructor(config)(model)
    assert type(wrapper) is OptimWrapper
    groups = wrapper.optimizer.param_groups
    assert [(len(group['params']), group['weight_decay']) for group in groups] == [
        (2, 0.5),
        (4, 0.0),
    ]
    assert config['optimizer']['type'] == 'AdamW', 'the config was changed'


def test_a_group_without_parameters_is_left_out():
    config = dict(optimizer=dict(type='SGD', lr=0.1))
    wrapper = TrainableOptimWrapperConstructor(config)(nn.Linear(3, 2, bias=False))
    assert len(wrapper.optimizer.param_groups) == 1


def test_paramwise_settings_are_refused(model):
    with pytest.raises(UserError, match=r'no paramwise_cfg, got norm_decay_mult: .*constructor to'):
        TrainableOptimWrapperConstructor({}, paramwise_cfg=dict(norm_decay_mult=0))


VIM = dict(type='Vim', arch=dict(embed_dims=16, num_layers=2), img_size=16, patch_size=8)
LORA = dict(type='LoRA', targets=['in_proj'], rank=2)
TUNED_NORMS = dict(type='PartialTuning', patterns=['norm.weight', 'norm_f.weight'])
BACKBONES = {
    'Vim': VIM,
    'PEFTModel': dict(type='PEFTModel', module=VIM, adapters=[LORA, TUNED_NORMS]),
}
CONSTRUCTORS = ['DefaultOptimWrapperConstructor', 'LearningRateDecayOptimWrapperConstructor']


def settings_of(backbone: dict, constructor: str, **paramwise: float) -> dict[str, dict]:
    """Learning rate, weight decay, … of each parameter of a classifier, by its name."""
    head = dict(type='LinearClsHead', in_channels=16, num_classes=3)
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))
    optimizer = dict(type='AdamW', lr=1.0, weight_decay=0.5)
    build = OPTIM_WRAPPER_CONSTRUCTORS.get(constructor)
    wrapper = build(dict(optimizer=optimizer), paramwise_cfg=paramwise)(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    return {names[id(p)]: group for group in groups for p in group['params']}


@pytest.mark.parametrize('constructor', CONSTRUCTORS)
@pytest.mark.parametrize('backbone', BACKBONES)
def test_norms_are_norms_for_norm_decay_mult(backbone, constructor):
    groups = settings_of(BACKBONES[backbone], constructor, norm_decay_mult=0.0)
    norms = {name for name in groups if 'norm' in name}
    assert {name.rpartition('backbone.')[2].removeprefix('module.') for name in norms} == {
        *('layers.0.norm.weight', 'layers.1.norm.weight', 'norm_f.weight')
    }
    assert {name for name, group in groups.items() if group['weight_decay'] == 0} == norms


@pytest.mark.parametrize('backbone', BACKBONES)
def test_learning_rates_decay_with_depth(backbone):
    groups = settings_of(BACKBONES[backbone], CONSTRUCTORS[1], layer_decay_rate=0.5)
    for name, group in groups.items():
        depth = next((int(part) + 1 for part in name.split('.') if part.isdigit()), None)
        if depth is None:
            depth = 3 if 'norm_f' in name or 'head' in name else 0
        assert group['lr'] == 0.5 ** (3 - depth), name


def test_bfloat16_in_the_forward_pass_and_float32_in_the_weights():
    model = nn.Linear(3, 2)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.clone()
    with wrapper.optim_context(model):
        output = model(torch.ones(1, 3))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)
    assert model(torch.ones(1, 3)).dtype == torch.float32


@pytest.mark.parametrize('feature', ['avx512bf16', 'amx-bf16', 'bf16', None])
def test_amp_without_instructions_for_bfloat16_is_told(feature, monkeypatch):
    binding = pytest.importorskip('llvmlite.binding')
    features = {'avx2': True, 'bf16': False, **({feature: True} if feature else {})}
    monkeypatch.setattr(binding, 'get_host_cpu_features', lambda: features)
    assert multiplies_bfloat16() == (feature is not None)
    config = dict(type='AmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1), loss_scale='dynamic')
    messages = []
    monkeypatch.setattr(
        'memba_vision.engine.optim.print_log', lambda text, *_: messages.append(text)
    )
    wrapper = TrainableOptimWrapperConstructor(config)(nn.Linear(2, 2))
    assert isinstance(wrapper, BFloat16OptimWrapper)
    assert (SLOW_BFLOAT16 in messages) == (feature is None)
