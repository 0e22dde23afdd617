"""Membranes beyond Vim: on the gate of a merged map, and inside LoRA where there is no gate."""

import pytest
import torch
import torch.nn.functional as F
from backbones_for_contracts import BACKBONES
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models import PEFTModel
from memba_vision.models.peft.hidden_lim import MembraneLoRALinear
from memba_vision.models.peft.lim import Membrane, MembraneGate
from memba_vision.models.peft.lora_layers import LoRALinear
from memba_vision.models.peft.low_rank_gate import LowRankMembraneGate
from memba_vision.models.sites import BlockSites, Rows, Sites, sites_of
from memba_vision.ops import MembraneSettings

LORA = dict(type='LoRA', targets=['in_proj'], rank=3, scale=0.5)
HIDDEN = dict(type='HiddenLIM', num_chunks=3)
LIM = dict(type='LIM', num_chunks=3)
SETTINGS = MembraneSettings(num_chunks=3, leak=0.8, threshold=0.5)


def integrate(current, initial=None):
    """Potentials of (batch, length, dim) from both ends, chunk by chunk, and their mean chunks."""
    results = []
    for k, sequence in enumerate((current, current.flip(1))):
        chunk = -(-sequence.shape[1] // SETTINGS.num_chunks)
        padded = F.pad(sequence, (0, 0, 0, chunk * SETTINGS.num_chunks - sequence.shape[1]))
        potential = torch.zeros_like(padded[:, :chunk]) if initial is None else initial[k]
        potentials = []
        for part in padded.split(chunk, dim=1):
            potential = SETTINGS.leak * potential + part
            potential = potential.masked_fill(potential > SETTINGS.threshold, 0)
            potentials.append(potential)
        potentials = torch.cat(potentials, dim=1)[:, : sequence.shape[1]]
        results.append(potentials.flip(1) if k else potentials)
    return results


def make(name, *adapters):
    torch.manual_seed(0)
    model = MODELS.build(dict(type='PEFTModel', module=BACKBONES[name], adapters=list(adapters)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def make_images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


# On the gate of a merged map


@pytest.mark.parametrize('site', ['gate', 'lora'])
def test_both_gates_weight_the_one_map(site):
    torch.manual_seed(0)
    y, z = torch.randn(2, 2, 11, 5)
    low_rank = torch.randn(2, 11, 3)
    up = nn.Linear(3, 5, bias=False)
    membrane = Membrane(SETTINGS, cross_layer=True)
    if site == 'gate':
        merged, _ = MembraneGate(membrane)((y,), z)
        gates = [F.silu(potentials) for potentials in integrate(z)]
    else:
        gate = LowRankMembraneGate(membrane, up, 0.5, 0.0)
        merged, _ = gate((y,), (z, low_rank))
        gates = [F.silu(z + 0.5 * up(potentials)) for potentials in integrate(low_rank)]
    torch.testing.assert_close(merged, y * (gates[0] + gates[1]) / 2)


# Inside LoRA


def make_layer(cross_layer):
    torch.manual_seed(0)
    lora = LoRALinear(nn.Linear(6, 4), rank=3, scale=0.5)
    nn.init.normal_(lora.up.weight)
    return lora, MembraneLoRALinear(lora, Membrane(SETTINGS, cross_layer))


def test_potentials_take_the_place_of_hidden_activations():
    lora, layer = make_layer(cross_layer=False)
    hidden = torch.randn(2, 11, 6)
    ahead, back = integrate(lora.down(hidden))
    expected = lora.base_layer(hidden) + lora.up(0.5 * (ahead + back) / 2)
    torch.testing.assert_close(layer(hidden), expected)
    assert (layer.in_features, layer.out_features) == (6, 4)


def test_a_map_is_integrated_row_by_row():
    _, layer = make_layer(cross_layer=False)
    maps = torch.randn(2, 3, 5, 6)
    expected = layer(maps.flatten(1, 2)).unflatten(1, (3, 5))
    assert torch.equal(layer(maps), expected)


def test_potentials_start_from_the_mean_of_the_block_before():
    lora, layer = make_layer(cross_layer=True)
    hidden = torch.randn(2, 12, 6)
    _, state = layer(hidden)
    out, _ = layer(hidden, state)
    initial = state[0].unflatten(0, (2, -1)).transpose(2, 3)
    ahead, back = integrate(lora.down(hidden), initial)
    expected = lora.base_layer(hidden) + lora.up(0.5 * (ahead + back) / 2)
    torch.testing.assert_close(out, expected)


CASES = [('vim', HIDDEN), ('vmamba_v2', HIDDEN), ('vmamba_v0', HIDDEN), ('vmamba_v0', LIM)]


@pytest.mark.parametrize(('name', 'adapter'), CASES, ids=str)
def test_a_state_goes_from_block_to_block_within_a_stage(name, adapter):
    model = make(name, LORA, adapter)
    membranes = [module for module in model.module.modules() if isinstance(module, Membrane)]
    given, returned = [], []

    def note(_, inputs, output):
        given.append(inputs[1])
        returned.append(output[1])

    for membrane in membranes:
        membrane.register_forward_hook(note)
    model(make_images())
    stages = [block.stage for block in sites_of(model.module).blocks]
    assert len(given) == len(stages) > len(set(stages))
    for k, stage in enumerate(stages):
        if k == 0 or stages[k - 1] != stage:
            assert given[k] is None
        else:
            assert given[k] is returned[k - 1]


def test_the_membrane_changes_what_lora_computes_and_training_reaches_it():
    plain, hidden = make('vmamba_v2', LORA), make('vmamba_v2', LORA, HIDDEN)
    images = make_images()
    assert not torch.allclose(plain(images)[0], hidden(images)[0])
    hidden(images)[0].square().sum().backward()
    assert all(p.grad is not None for p in hidden.adapter_parameters().values())
    assert hidden.merge()[1][0].startswith('HiddenLIM stays')


class Attention(nn.Module):
    """A backbone without a mixer, whose blocks hand on nothing."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(4, 12)

    def sites(self):
        return Sites((BlockSites({'attn.qkv': (Rows('qkv'),)}),))

    def forward(self, x):
        return self.qkv(x)


QKV = dict(type='LoRA', targets=['attn.qkv'], rank=2)


def test_attention_has_it_without_a_transfer():
    hidden = HIDDEN | dict(target='attn.qkv')
    model = PEFTModel(Attention(), [QKV, hidden | dict(cross_layer=False)])
    assert model(torch.randn(2, 5, 4)).shape == (2, 5, 12)
    with pytest.raises(UserError, match='HiddenLIM needs "state"'):
        PEFTModel(Attention(), [QKV, hidden])


GATE = LIM | dict(site='gate')
WITHOUT = dict(cross_layer=False)
OTHER_RANK = dict(type='LoRA', targets=['layers.1.mixer.in_proj'], rank=2)
FIRST = dict(type='LoRA', targets=['layers.0.mixer.in_proj'], rank=3)
HALF = LORA | dict(blocks=[0, 0.5])
PROMPTS = dict(type='VPT', deep=True, blocks=[0, 0.5])
REFUSED = {
    'no_lora': ([HIDDEN], 'HiddenLIM: it integrates .* of a LoRA on in_proj: put dict'),
    'dora': ([dict(type='DoRA', targets=['in_proj'], rank=2), HIDDEN], 'put dict'),
    'blocks': ([HALF, HIDDEN], 'of every block, and layers.1.mixer.in_proj has none .* blocks'),
    'lim_blocks': ([HALF, LIM], 'of every block, .* blocks of that LoRA out, .* or choose site'),
    'prompts': ([LORA, HIDDEN, PROMPTS], 'VPT: blocks makes .* leave blocks out, or set cross_la'),
    'prompts_first': ([LORA, PROMPTS, LIM], 'LIM: its state .* blocks of VPT .* set cross_layer'),
    'prompts_ssm_lora': ([PROMPTS, dict(type='SSMLoRA', rank=2)], 'SSMLoRA: its .* leave blocks'),
    'twice': ([LORA, HIDDEN, HIDDEN], 'put dict.*before it'),
    'lim_after': ([LORA, HIDDEN, GATE], "LIM: another adapter's state goes from block to block"),
    'ssm_lora': ([LORA, HIDDEN, dict(type='SSMLoRA', rank=2)], "SSMLoRA: another adapter's state"),
    'after_lim': ([LORA, GATE, HIDDEN], "HiddenLIM: another adapter's state .*cross_layer=False"),
    'ranks': ([FIRST, OTHER_RANK, HIDDEN], r'have the ranks \[2, 3\]'),
    'target': ([LORA, HIDDEN | dict(target='in')], "target 'in' names no layer of Vim"),
    'chunks': ([LORA, HIDDEN | dict(num_chunks=0)], 'num_chunks'),
    'out_proj': (
        [dict(LORA, targets=['out_proj']), HIDDEN | dict(target='mix.out')],
        'the blocks hand on no state to layers.0.mixer.out_proj: set cross_layer=False',
    ),
}


@pytest.mark.parametrize(('adapters', 'message'), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(adapters, message):
    with pytest.raises(UserError, match=message):
        make('vim', *adapters)


def test_together_with_a_membrane_that_hands_on_nothing():
    model = make('vim', LORA, HIDDEN, GATE | WITHOUT)
    assert torch.isfinite(model(make_images())[0]).all()
    model = make('vim', dict(LORA, targets=['out_proj']), HIDDEN | dict(target='mix.out') | WITHOUT)
    assert isinstance(model.module.layers[0].mixer.out_proj, MembraneLoRALinear)


def test_prompts_of_some_blocks_go_with_a_membrane_without_a_transfer():
    model = make('vim', LORA, LIM | WITHOUT, PROMPTS)
    assert torch.isfinite(model(make_images())[0]).all()


def test_a_membrane_without_a_transfer_passes_on_the_state_of_others():
    model = make('vim', LORA, HIDDEN, GATE | WITHOUT)
    given = []
    for module in model.modules():
        if isinstance(module, MembraneLoRALinear):
            module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[1] is not None))
    model(make_images())
    assert given == [False, *[True] * (len(given) - 1)] and len(given) > 1
