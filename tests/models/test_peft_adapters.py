"""What the adapters compute, against references by hand, and what they refuse."""

import pytest
import torch
import torch.nn.functional as F
from backbones_for_contracts import BACKBONES
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.engine.optim import split_by_decay
from memba_vision.errors import UserError
from memba_vision.models import PEFTModel, Vim
from memba_vision.models.modules.mixer import BidirectionalMixer
from memba_vision.models.modules.scan import ScanCall
from memba_vision.models.peft.additional_scan import WiderScan
from memba_vision.models.peft.affix_tuning import AffixScan
from memba_vision.models.peft.low_rank_gate import LowRankMembraneGate
from memba_vision.models.peft.recurrent_gate import CELLS, RecurrentMembrane
from memba_vision.models.peft.state_offset import StateOffsetScan
from memba_vision.models.peft.virtual_tokens import PlainTokens

VIM = dict(type='Vim', arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)
LORA = dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=3, scale=0.5)
DORA = dict(type='DoRA', targets=['in_proj'], rank=3)
PARTIAL = dict(type='PartialLoRA', part='x', rank=3, scale=0.5)
PARALLEL = dict(type='ParallelAdapter', rank=3)
TUNING = dict(type='PartialTuning', patterns=['D'])
AFFIX = dict(type='AffixTuning')
WIDER = dict(type='AdditionalScan')
OFFSET = dict(type='StateOffset')
PROMPT = dict(type='PromptTuning')
GRU = dict(type='RecurrentGate', cell='gru')
LIM = dict(type='LIM')


def make_peft(*adapters, **vim):
    torch.manual_seed(0)
    return MODELS.build(dict(type='PEFTModel', module=VIM | vim, adapters=list(adapters)))


def randomise(model, std=0.3):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    return model.eval()


def make_images(batch=2):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make_mixer(d_state=4):
    torch.manual_seed(0)
    mixer = BidirectionalMixer(8, d_state=d_state).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return mixer


def make_sequence(length=7):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, length, 8, generator=generator, dtype=torch.float64)


# What is computed


def test_more_states_are_those_of_a_wider_mixer():
    mixer, wide = make_mixer(), make_mixer(d_state=6)
    weights = mixer.state_dict()
    for suffix in ('', '_b'):
        scan = WiderScan(getattr(mixer, f'scan{suffix}'), getattr(mixer, f'A{suffix}_log'), 2)
        scan = scan.double()
        nn.init.normal_(scan.A_log, std=0.3)
        setattr(mixer, f'scan{suffix}', scan)
        A_log, x_proj = f'A{suffix}_log', f'x_proj{suffix}.weight'
        weights[A_log] = torch.cat([scan.A_log.detach(), weights[A_log]], dim=1)
        delta, B, C = weights[x_proj].split([mixer.dt_rank, 4, 4])
        more_B, more_C = scan.x_proj.weight.detach().chunk(2)
        weights[x_proj] = torch.cat([delta, more_B, B, more_C, C])
    wide.load_state_dict(weights)
    torch.testing.assert_close(mixer(make_sequence())[0], wide(make_sequence())[0])


def test_new_states_start_as_copies_of_their_neighbour():
    mixer = make_peft(WIDER).module.layers[1].mixer
    for suffix in ('', '_b'):
        scan, A_log = getattr(mixer, f'scan{suffix}'), getattr(mixer, f'A{suffix}_log')
        assert torch.equal(scan.A_log, A_log[:, :1].expand(-1, 6))


def affixed(mixer, seed):
    torch.manual_seed(seed)
    for suffix in ('', '_b'):
        tokens = PlainTokens(3, 2 * mixer.d_inner, mixer.A_log)
        setattr(mixer, f'scan{suffix}', AffixScan(getattr(mixer, f'scan{suffix}'), tokens))
    return mixer


@pytest.mark.parametrize('name', ['vim', 'vmamba_v2'])
def test_the_rates_of_new_states_are_not_decayed(name):
    model = PEFTModel(BACKBONES[name], [WIDER])
    decayed, others = (set(map(id, group)) for group in split_by_decay(model))
    own = model.adapter_parameters()
    assert {id(p) for n, p in own.items() if n.endswith('.A_log')} == others
    assert {id(p) for n, p in own.items() if n.endswith('.x_proj.weight')} == decayed


def test_an_affix_comes_first_in_the_scan_of_either_direction():
    mixer, other = affixed(make_mixer(), 1), affixed(make_mixer(), 2)
    swapped = {}
    for name, tensor in mixer.state_dict().items():
        first, _, rest = name.partition('.')
        swap = {'A_log': 'A_b_log', 'A_b_log': 'A_log'}.get(first) or (
            first.removesuffix('_b') if first.endswith('_b') else f'{first}_b'
        )
        shared = first in ('in_proj', 'out_proj')
        swapped[name if shared else f'{swap}.{rest}' if rest else swap] = tensor
    other.load_state_dict(swapped)
    sequence = make_sequence()
    out = mixer(sequence)[0]
    torch.testing.assert_close(other(sequence.flip(1))[0].flip(1), out)
    assert out.shape == sequence.shape
    assert not torch.allclose(out, make_mixer()(sequence)[0])


def test_half_of_an_affix_has_no_effect():
    mixer = affixed(make_mixer(), 1)
    tokens = mixer.scan.tokens.values
    gradient = torch.autograd.grad(mixer(make_sequence())[0].square().sum(), tokens)[0]
    assert (gradient[:, mixer.d_inner :] == 0).all()
    assert (gradient[:, : mixer.d_inner] != 0).all()


def test_a_state_offset_is_read_by_C_and_never_enters_the_recurrence():
    mixer = make_mixer()
    scan = StateOffsetScan(mixer.scan, mixer.A_log)
    nn.init.normal_(scan.offset)
    x = torch.randn(2, mixer.d_inner, 7, dtype=torch.float64)
    weights = (mixer.x_proj, mixer.dt_proj, mixer.A_log, mixer.D)
    actual = scan(ScanCall(x, *weights, conv1d=mixer.conv1d))
    x = mixer.conv1d(x)
    delta, B, C = (x.transpose(1, 2) @ mixer.x_proj.weight.T).split([mixer.dt_rank, 4, 4], dim=-1)
    delta = F.softplus(mixer.dt_proj(delta))
    h = torch.zeros(2, mixer.d_inner, 4, dtype=torch.float64)
    for t in range(7):
        u = (delta[:, t] * x[:, :, t])[..., None]
        h = torch.exp(-delta[:, t, :, None] * mixer.A_log.exp()) * h + u * B[:, t, None]
        y = ((h + scan.offset) * C[:, t, None]).sum(-1) + mixer.D * x[:, :, t]
        torch.testing.assert_close(actual[:, t], y)


def test_an_output_offset_is_added_after_the_scan():
    model = randomise(make_peft(OFFSET | dict(of='output')))
    mixer = model.module.layers[0].mixer
    scan = mixer.scan
    x = torch.randn(2, 32, 7)
    weights = (mixer.x_proj, mixer.dt_proj, mixer.A_log, mixer.D)
    call = ScanCall(x, *weights, reverse=True, conv1d=mixer.conv1d)
    assert torch.equal(scan(call), scan.base_layer(call) + scan.offset)


@pytest.mark.parametrize('project', [True, False])
@pytest.mark.parametrize('out_type', ['raw', 'featmap', 'avg_featmap', 'cls_token'])
def test_prompts_enter_at_both_ends_and_leave_no_trace_in_the_shape(out_type, project):
    vim = dict(out_type=out_type, out_indices=[0, 1])
    model = make_peft(PROMPT | dict(num_tokens=6, project=project), **vim)
    plain = make_peft(**vim)
    tokens = torch.randn(2, 17, 16)
    inside = model.module.prompt.insert(tokens)
    assert torch.equal(inside[:, 3:-3], tokens)
    assert torch.equal(model.module.prompt.remove(inside), tokens)
    for with_prompts, without in zip(model(make_images()), plain(make_images()), strict=True):
        assert with_prompts.shape == without.shape
        assert not torch.allclose(with_prompts, without)


@pytest.mark.parametrize('cell', CELLS)
def test_a_recurrent_gate_runs_along_either_direction(cell):
    up = nn.Linear(3, 5, bias=False)
    gate = LowRankMembraneGate(RecurrentMembrane(cell, torch.empty(3, 5)), up, 0.5, 0.0)
    y_forward, y_backward, z = torch.randn(3, 2, 7, 5)
    low_rank = torch.randn(2, 7, 3)
    actual, state = gate((y_forward, y_backward), (z, low_rank), None)
    ahead = gate.membrane.forward_net(low_rank)[0]
    back = gate.membrane.backward_net(low_rank.flip(1))[0].flip(1)
    expected = y_forward * F.silu(z + 0.5 * up(ahead)) + y_backward * F.silu(z + 0.5 * up(back))
    torch.testing.assert_close(actual, expected / 2)
    assert state is None


@pytest.mark.parametrize('part', ['x', 'z', 'delta', 'B', 'C'])
def test_partial_lora_changes_its_rows_alone(part):
    model = randomise(make_peft(PARTIAL | dict(part=part)))
    mixer = model.module.layers[0].mixer
    layer = mixer.in_proj if part in 'xz' else mixer.x_proj_b
    rows = dict(x=(0, 32), z=(32, 64), delta=(0, 1), B=(1, 5), C=(5, 9))[part]
    hidden = torch.randn(4, layer.in_features)
    change = layer(hidden) - layer.base_layer(hidden)
    changed = (change != 0).all(dim=0).nonzero().flatten().tolist()
    assert changed == list(range(*rows))
    assert (change == 0).all(dim=0).sum() == layer.out_features - len(changed)


def test_dora_keeps_the_magnitude_apart_from_the_direction():
    layer = randomise(make_peft(DORA | dict(targets=['dt_proj']))).module.layers[0].mixer.dt_proj
    base = layer.base_layer
    direction = base.weight + layer.scale * layer.up.weight @ layer.down.weight
    weight = layer.magnitude[:, None] * F.normalize(direction, dim=1)
    hidden = torch.randn(4, layer.in_features)
    torch.testing.assert_close(layer(hidden), F.linear(hidden, weight, base.bias))


@pytest.mark.parametrize('blocks', [1, 4, None])
def test_prodial_mixes_inside_its_blocks(blocks):
    adapter = dict(type='ProDiaL', targets=['in_proj'], rank=3, blocks=blocks)
    layer = randomise(make_peft(adapter)).module.layers[0].mixer.in_proj
    near_identity = torch.eye(16) + torch.block_diag(*layer.blocks)
    weight = layer.row_scale[:, None] * (layer.base_layer.weight @ near_identity)
    weight = weight + layer.up.weight @ layer.down.weight
    hidden = torch.randn(4, 16)
    torch.testing.assert_close(layer(hidden), hidden @ weight.T, rtol=1e-4, atol=1e-5)
    assert len(layer.blocks) == (blocks or 16)


ON_STEPS = {
    'lora': dict(type='LoRA', rank=2),
    'parallel': dict(type='ParallelAdapter', rank=2),
    'glora': dict(type='GLoRA'),
    'gps': dict(type='GPS'),
}


@pytest.mark.parametrize('adapter', ON_STEPS.values(), ids=ON_STEPS)
@torch.no_grad()
def test_a_step_size_keeps_its_bias_in_float32_under_autocast(adapter):
    model = make_peft(adapter | dict(targets=['dt_proj']))
    if model.undecided:
        model.decide_without_data()
    layer = model.eval().module.layers[0].mixer.dt_proj
    low_rank = torch.randn(4, 5, layer.in_features) * 0.01
    with torch.autocast('cpu', torch.bfloat16):
        steps = F.softplus(layer(low_rank))
    exact = F.softplus(layer(low_rank))
    assert ((steps - exact).abs() / exact).mean() < 1e-3


def test_a_parallel_adapter_has_a_relu():
    layer = randomise(make_peft(PARALLEL)).module.layers[0].mixer.out_proj
    hidden = torch.randn(4, 32)
    update = F.relu(hidden @ layer.down.weight.T) @ layer.up.weight.T
    torch.testing.assert_close(layer(hidden), layer.base_layer(hidden) + 0.1 * update)


def test_ssm_lora_passes_its_state_from_one_time_module_to_the_next():
    model = randomise(
        make_peft(dict(type='SSMLoRA', rank=3), arch=VIM['arch'] | dict(num_layers=3))
    )
    vim = model.module
    assert [hasattr(layer.mixer.gate, 'down') for layer in vim.layers] == [True, False, True]
    first, third = vim.layers[0].mixer, vim.layers[2].mixer
    y_forward, y_backward, z = torch.randn(3, 2, 5, 32)
    merged = (y_forward + y_backward) / 2 * F.silu(z)
    h = torch.zeros(2, 5, 3)
    state = None
    for mixer in (first, third):
        gate = mixer.gate
        low_rank = merged @ gate.down.weight.T
        h = h + h @ gate.carry.weight.T + low_rank @ gate.enter.weight.T
        low, high = h.min(-1, keepdim=True).values, h.max(-1, keepdim=True).values
        h = (h - low) / (high - low).clamp(min=1)
        gated, state = gate((y_forward, y_backward), z, state)
        torch.testing.assert_close(gated, torch.cat([merged, low_rank + h], dim=-1))
        torch.testing.assert_close(state[0], h)
        assert not state[0].requires_grad
        expected = merged @ mixer.out_proj.base_layer.weight.T
        expected = expected + 0.1 * (low_rank + h) @ mixer.out_proj.up.weight.T
        torch.testing.assert_close(mixer.out_proj(gated), expected)


# Combinations


COMBINATIONS = {
    'parts_and_the_whole': [LORA, PARTIAL, PARTIAL | dict(part='z'), PARTIAL | dict(part='B')],
    'the_whole_on_a_part': [PARTIAL, LORA],
    'low_rank_and_bias': [LORA | dict(targets=['dt_proj']), TUNING | dict(patterns=['dt_proj.b*'])],
    'dora_and_partial': [DORA, PARTIAL | dict(part='C'), TUNING],
}


@pytest.mark.parametrize('adapters', COMBINATIONS.values(), ids=COMBINATIONS)
def test_combinations_that_fold(adapters):
    model = randomise(make_peft(*adapters), std=0.1)
    merged, reasons = model.merge()
    assert not reasons
    assert list(merged.state_dict()) == list(MODELS.build(VIM).state_dict())
    actual, expected = merged(make_images())[0], model(make_images())[0]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    'adapters',
    [[WIDER, OFFSET], [OFFSET, WIDER], [OFFSET, WIDER, AFFIX], [LORA, LIM, OFFSET, AFFIX, PROMPT]],
    ids=['wider_offset', 'offset_wider', 'all_scans', 'everywhere'],
)
def test_combinations_around_the_scan(adapters):
    model = randomise(make_peft(*adapters))
    loss = model(make_images())[0].pow(3).sum()
    gradients = torch.autograd.grad(loss, list(model.adapter_parameters().values()))
    assert all(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.slow
def test_a_compiled_combination_equals_an_eager_one():
    model = randomise(make_peft(OFFSET, WIDER, AFFIX, PROMPT, PARTIAL, LORA, PARALLEL))
    parameters = list(model.adapter_parameters().values())
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    expected = torch.autograd.grad(model(make_images())[0].pow(3).sum(), parameters)
    actual = torch.autograd.grad(compiled(make_images())[0].pow(3).sum(), parameters)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_what_folds_is_folded_beside_what_stays():
    model = randomise(make_peft(LORA, LIM, PARALLEL), std=0.1)
    merged, (first, second) = model.merge()
    assert first.startswith("LIM stays as the gate, and in_proj's LoRA on the way to it")
    assert second.startswith('ParallelAdapter stays')
    names = {name.split('.', 3)[3] for name in merged.state_dict() if 'out_proj' in name}
    assert names == {f'out_proj.{part}.weight' for part in ('base_layer', 'down', 'up')}
    actual, expected = merged(make_images())[0], model(make_images())[0]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


ERRORS = {
    'lora_wrong_target': ([LORA | dict(targets=['qkv'])], 'possible targets are dt_proj, .*x_proj'),
    'dora_wrong_target': ([DORA | dict(targets=['qkv'])], 'possible targets are dt_proj, .*x_proj'),
    'dora_conv': ([DORA | dict(targets=['patch_embed.proj'])], 'matches no Linear of Vim'),
    'prodial_wrong_target': ([dict(type='ProDiaL', targets=['a'])], 'possible targets are dt_proj'),
    'parallel_wrong_target': ([PARALLEL | dict(targets=['a'])], 'possible targets are dt_proj'),
    'wrong_pattern': (
        [TUNING | dict(patterns=['E'])],
        "'E' matches no frozen parameter; possible names are cls_token, mixer.A_b_log, .*pos_embed",
    ),
    'partial_unknown_part': ([PARTIAL | dict(part='y')], "unknown part 'y'; known are x, z, delta"),
    'offset_unknown': ([OFFSET | dict(of='y')], "unknown of='y'; known are state, output"),
    'cell_unknown': ([LORA, GRU | dict(cell='rnn')], "unknown cell 'rnn'; known are lstm, gru"),
    'prompts_odd': ([PROMPT | dict(num_tokens=3)], 'must be even and at least 2'),
    'no_states': ([WIDER | dict(num_states=0)], 'num_states must be at least 1, got 0'),
    'no_tokens': ([AFFIX | dict(num_tokens=0)], 'num_tokens must be at least 1, got 0'),
    'blocks': ([dict(type='ProDiaL', blocks=3)], 'must divide the 16 inputs of layers.0.*got 3'),
    'no_patterns': ([TUNING | dict(patterns='D')], "must be a list of parameter names, got 'D'"),
    'same_part_twice': ([PARTIAL, PARTIAL], "in_proj' has an adapter already"),
    'same_part_below': ([PARTIAL, LORA, PARTIAL], "in_proj' has an adapter already"),
    'dora_on_lora': ([LORA, DORA], "in_proj' has an adapter already"),
    'lora_on_dora': ([DORA, LORA], "in_proj' has an adapter already"),
    'lora_on_parallel': ([PARALLEL, LORA], "target 'out_proj' has an adapter already"),
    'weight_and_lora': ([LORA, TUNING | dict(patterns=['in_proj.weight'])], 'train in full'),
    'everything_and_lora': ([TUNING | dict(patterns=['*']), LORA], 'trains in full'),
    'tuned_twice': ([TUNING, TUNING], "'D' matches no frozen parameter"),
    'affixes_twice': ([AFFIX, AFFIX], 'use one AffixTuning alone'),
    'wider_after_affix': ([AFFIX, WIDER], 'put AffixTuning after AdditionalScan'),
    'offset_after_affix': ([AFFIX, OFFSET], 'put AffixTuning after StateOffset'),
    'wider_twice': ([WIDER, WIDER], 'use one of them alone'),
    'prompts_twice': ([PROMPT, PROMPT], 'use one PromptTuning alone'),
    'two_gates': ([LORA, LIM, GRU], 'replaced by LIM already: use LIM or RecurrentGate'),
    'ssm_lora_and_lim': ([LORA, LIM, dict(type='SSMLoRA')], 'out_proj. has an adapter'),
    'ssm_lora_every': ([dict(type='SSMLoRA', every=0)], 'every must be at least 1, got 0'),
    'gru_without_lora': ([GRU], 'put dict.*before it$'),
    'parallel_on_a_convolution': (
        [
            LORA | dict(targets=['patch_embed.proj']),
            dict(type='ParallelAdapter', targets=['patch_embed.proj'], rank=2),
        ],
        'matches no Linear',
    ),
    'gru_on_a_part': ([PARTIAL, GRU], 'put dict.*before it$'),
}


@pytest.mark.parametrize(('adapters', 'message'), ERRORS.values(), ids=ERRORS)
def test_what_is_refused(adapters, message):
    vim = Vim(**{key: value for key, value in VIM.items() if key != 'type'})
    with pytest.raises(UserError, match=message):
        PEFTModel(vim, adapters)


@pytest.mark.parametrize('adapter', [PROMPT, AFFIX, WIDER, OFFSET, PARTIAL], ids=str)
def test_a_backbone_without_the_place(adapter):
    with pytest.raises(UserError, match=r'needs ".+, which Linear has not|Linear has no slot'):
        PEFTModel(nn.Linear(2, 2), [adapter])
