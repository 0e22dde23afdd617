import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from memba_vision.engine.optim import (
    BFloat16OptimWrapper,
    TrainableOptimWrapperConstructor,
    split_by_decay,
)


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
    with pytest.raises(ValueError, match='no paramwise_cfg'):
        TrainableOptimWrapperConstructor({}, paramwise_cfg=dict(norm_decay_mult=0))


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
