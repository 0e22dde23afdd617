"""Targets by role: what adapters find by them, and what they make of some outputs alone."""

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models import PEFTModel
from memba_vision.models.backbones.vim import VimBlock
from memba_vision.models.sites import BlockSites, Rows, Sites, sites_of

VIM = dict(type='Vim', arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)
LORA = dict(type='LoRA', rank=3, scale=0.5)
WHOLE = {'mix.in': ['in_proj'], 'mix.params': ['x_proj', 'x_proj_b'], 'embed': ['patch_embed.proj']}
PARTS = {'mix.x': 'x', 'mix.z': 'z', 'mix.delta': 'delta', 'mix.B': 'B', 'mix.C': 'C'}


def make(*adapters):
    torch.manual_seed(0)
    model = MODELS.build(dict(type='PEFTModel', module=VIM, adapters=list(adapters)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def features(model):
    return model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))[0]


def assert_same(one, other):
    assert list(one.adapter_parameters()) == list(other.adapter_parameters())
    assert torch.equal(features(one), features(other))


@pytest.mark.parametrize(('role', 'names'), WHOLE.items(), ids=WHOLE)
def test_a_role_is_all_that_it_stands_for(role, names):
    assert_same(make(LORA | dict(targets=[role])), make(LORA | dict(targets=names)))


@pytest.mark.parametrize(('role', 'part'), PARTS.items(), ids=PARTS)
def test_lora_on_a_role_of_some_outputs_is_partial(role, part):
    partial = dict(LORA, type='PartialLoRA', part=part)
    assert_same(make(LORA | dict(targets=[role])), make(partial))


def test_one_lora_takes_projections_and_some_of_their_outputs():
    model = make(LORA | dict(targets=['in_proj', 'mix.x', 'mix.B', 'mix.C', 'mix.x']))
    layer = model.module.layers[1].mixer.in_proj
    assert (layer.rows, layer.base_layer.out_features) == (range(32), 64)
    merged, reasons = model.merge()
    assert not reasons
    assert list(merged.state_dict()) == list(MODELS.build(VIM).state_dict())
    torch.testing.assert_close(features(merged), features(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    'adapter',
    [
        dict(type='DoRA', rank=3),
        dict(type='ProDiaL'),
        dict(type='ParallelAdapter', rank=3),
        dict(type='HFPeft', peft_type='LORA'),
    ],
    ids=lambda adapter: adapter['type'],
)
def test_adapters_of_whole_projections_refuse_some_outputs(adapter):
    key = 'target_modules' if adapter['type'] == 'HFPeft' else 'targets'
    if key == 'target_modules':
        pytest.importorskip('peft')
    message = "'mix.z' stands for some outputs of layers.0.mixer.in_proj alone"
    with pytest.raises(UserError, match=message):
        make(adapter | {key: ['out_proj', 'mix.z']})


@pytest.mark.parametrize('targets', [['in_proj', 'mix.x', 'mix.x'], ['mix.x']], ids=str)
def test_some_outputs_have_one_adapter(targets):
    with pytest.raises(UserError, match=r"'layers.0.mixer.in_proj' has an adapter already"):
        make(LORA | dict(targets=targets), dict(type='PartialLoRA', part='x', rank=2))


class Nested(nn.Sequential):
    """A part that lies deeper has the name of a site among its own."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.deeper = nn.Sequential()
        self.deeper.fc = nn.Linear(4, 4)

    def sites(self):
        return Sites((BlockSites({'mlp.fc1': (Rows('fc'),)}),))


def test_a_role_is_no_end_of_a_name():
    model = PEFTModel(Nested(), [LORA | dict(targets=['mlp.fc1'])])
    assert set(model.adapter_parameters()) == {'fc.down.weight', 'fc.up.weight'}


def test_where_a_backbone_has_no_such_role_its_name_is_a_target():
    backbone = nn.ModuleDict({'mlp': nn.ModuleDict({'fc1': nn.Linear(4, 4)})})
    model = PEFTModel(backbone, [LORA | dict(targets=['mlp.fc1'])])
    assert set(model.adapter_parameters()) == {'mlp.fc1.down.weight', 'mlp.fc1.up.weight'}
    with pytest.raises(UserError, match=r'"mlp.fc2" .*, which ModuleDict has not'):
        PEFTModel(backbone, [LORA | dict(targets=['mlp.fc2'])])


class PartlyGated(nn.Module):
    """Two blocks, of which the second has no gate."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(4, 4)
        self.gate = nn.Identity()

    def sites(self):
        z = Rows('first', range(4, 8))
        gated = BlockSites({'mix.in': (Rows('first'),), 'mix.z': (z,)}, gate='gate')
        return Sites((gated, BlockSites({'mix.in': (Rows('second'),)})))


def test_membranes_take_the_gates_that_there_are():
    model = PEFTModel(PartlyGated(), [LORA | dict(targets=['first']), dict(type='LIM')])
    assert model.module.gate.owner == 'LIM'
    assert type(model.module.second) is nn.Linear


@pytest.mark.parametrize('adapter', [LORA, dict(type='HFPeft', peft_type='LORA', r=3)], ids=str)
def test_peft_loads_what_was_saved_by_role(adapter, tmp_path):
    peft = pytest.importorskip('peft')
    key = 'targets' if adapter is LORA else 'target_modules'
    model = make(adapter | {key: ['mix.in', 'out_proj']})
    assert any('in_proj' in name for name in model.adapter_parameters())
    model.save_hf(tmp_path)
    torch.manual_seed(0)
    loaded = peft.PeftModel.from_pretrained(MODELS.build(VIM), str(tmp_path)).eval()
    torch.testing.assert_close(features(loaded), features(model), rtol=1e-5, atol=1e-5)


def test_the_files_of_peft_hold_no_part_of_a_projection(tmp_path):
    with pytest.raises(UserError, match='changes some outputs of one alone'):
        make(LORA | dict(targets=['out_proj', 'mix.x'])).save_hf(tmp_path)


class Bare(nn.Module):
    """Blocks of Vim in a backbone that says nothing of places."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(VimBlock(8, 0.0) for _ in range(3))


def test_a_block_answers_for_the_modules_inside():
    sites = sites_of(Bare())
    assert [block.parts.block for block in sites.blocks] == [f'layers.{k}' for k in range(3)]
    assert [block.gate for block in sites.blocks] == [f'layers.{k}.mixer.gate' for k in range(3)]
    model = PEFTModel(Bare(), [dict(type='AdaptFormer'), dict(type='VPT', deep=True)])
    assert {name.split('.')[2] for name in model.adapter_parameters()} == {'mixer', 'vpt'}
    with pytest.raises(UserError, match='needs "patches"'):
        PEFTModel(Bare(), [dict(type='Mona')])
