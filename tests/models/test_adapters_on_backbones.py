"""Every adapter on every family of backbones: it keeps its promises, or says why it cannot."""

import pytest
import torch
import torch.nn.functional as F
from backbones_for_contracts import BACKBONES
from mmpretrain.registry import MODELS

from memba_vision.errors import UserError
from memba_vision.models import PEFTModel
from memba_vision.registry import ADAPTERS

LORA = dict(type='LoRA', rank=2, scale=1.0, drop_rate=0.0)
IN_OUT = [dict(LORA, targets=['mix.in', 'mix.out'])]
CASES = {
    'LoRA in, out': IN_OUT,
    'LoRA params, dt': [dict(LORA, targets=['mix.params', 'mix.dt'])],
    'LoRA parts': [dict(LORA, targets=['mix.x', 'mix.z', 'mix.delta', 'mix.B', 'mix.C'])],
    'LoRA attention': [dict(LORA, targets=['attn.qkv', 'attn.out'])],
    'LoRA MLP': [dict(LORA, targets=['mlp.fc1', 'mlp.fc2'])],
    'LoRA embed': [dict(LORA, targets=['embed'])],
    'PartialLoRA': [dict(type='PartialLoRA', part='z', rank=2, drop_rate=0.0)],
    'DoRA': [dict(type='DoRA', targets=['mix.in', 'mix.dt'], rank=2, drop_rate=0.0)],
    'ProDiaL': [dict(type='ProDiaL', targets=['mix.in', 'mix.dt'], rank=2, drop_rate=0.0)],
    'ParallelAdapter': [dict(type='ParallelAdapter', targets=['mix.out'], rank=2, drop_rate=0.0)],
    'HFPeft': [dict(type='HFPeft', peft_type='LORA', target_modules=['mix.in', 'mix.out'], r=2)],
    'PartialTuning': [dict(type='PartialTuning', patterns=['A_log', 'D', 'dt_proj.bias'])],
    'PartialTuning all': [dict(type='PartialTuning', patterns=['*'])],
    'AdditionalScan': [dict(type='AdditionalScan', num_states=2)],
    'AffixTuning': [dict(type='AffixTuning', num_tokens=2)],
    'AffixTuning project': [dict(type='AffixTuning', num_tokens=2, project=True)],
    'StateOffset': [dict(type='StateOffset')],
    'StateOffset output': [dict(type='StateOffset', of='output')],
    'several': [*IN_OUT, dict(type='StateOffset'), dict(type='AffixTuning', num_tokens=1)],
    'PromptTuning': [dict(type='PromptTuning', num_tokens=2)],
    'LIM gate': [dict(type='LIM', site='gate')],
    'LIM LoRA': [*IN_OUT, dict(type='LIM')],
    'RecurrentGate': [*IN_OUT, dict(type='RecurrentGate', cell='gru')],
    'SSMLoRA': [dict(type='SSMLoRA', rank=2, every=1, drop_rate=0.0)],
}
#: Why a family refuses an adapter: the beginning of the reason.
REFUSED = {
    'MambaReg': {
        'LoRA attention': 'target \'attn.qkv\' needs "attn.qkv"',
        'LoRA MLP': 'target \'mlp.fc1\' needs "mlp.fc1"',
    },
    'MambaVision': {
        'LoRA embed': 'target \'embed\' needs "embed"',
        'AffixTuning project': r'AffixTuning: the blocks have the widths \[8, 16\]',
        'PromptTuning': 'PromptTuning needs "tokens"',
        'LIM gate': 'LIM needs "gate"',
        'LIM LoRA': 'LIM needs "gate"',
        'RecurrentGate': 'RecurrentGate needs "gate"',
        'SSMLoRA': 'SSMLoRA needs "gate"',
    },
}
WORKING = [(b, case) for b in BACKBONES for case in CASES if case not in REFUSED[b]]
#: They compute something else than the pre-trained function at the start.
OTHER_START = {'AdditionalScan', 'AffixTuning', 'AffixTuning project', 'several', 'PromptTuning'}
OTHER_START |= {'LIM gate'}
#: Weights of the state that comes before the first block, which is zero.
WITHOUT_EFFECT = {'layers.0.mixer.gate.carry.weight'}
NEEDS_PEFT = {'HFPeft'}


def build_plain(backbone, **settings):
    """A backbone in evaluation mode, whose weights are large enough for a change to show."""
    torch.manual_seed(0)
    module = MODELS.build(BACKBONES[backbone] | settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1 and not name.endswith('_log'):
                scale = parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    module.eval()
    return module


def build(backbone, case, **settings):
    if case in NEEDS_PEFT:
        pytest.importorskip('peft')
    return PEFTModel(build_plain(backbone, **settings), CASES[case])


def make_images(model, batch=4):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, *model.img_size, generator=generator)


def loss_of(model):
    (feature,) = model(make_images(model))
    target = torch.randn(feature.shape, generator=torch.Generator().manual_seed(1))
    return F.mse_loss(feature, target)


def train(model, parameters):
    if parameters:
        optimizer = torch.optim.AdamW(parameters, lr=1e-3)
        model.train()
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
        model.eval()


def test_every_adapter_has_a_case():
    named = {adapter['type'] for adapters in CASES.values() for adapter in adapters}
    assert named >= set(ADAPTERS.module_dict)
    assert REFUSED.keys() == BACKBONES.keys()


@pytest.mark.parametrize(('backbone', 'case'), WORKING)
def test_what_an_adapter_promises(backbone, case, tmp_path):
    plain, model = build_plain(backbone), build(backbone, case).eval()
    with torch.no_grad():
        images = make_images(model)
        expected = plain(images)[0]
        same = torch.allclose(model(images)[0], expected, rtol=1e-4, atol=1e-5)
    assert same == (case not in OTHER_START)

    own = model.adapter_parameters()
    start = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    before = loss_of(model).item()
    train(model, list(own.values()))
    assert loss_of(model).item() < before or not own
    changed = {n for n, t in model.module.state_dict().items() if not torch.equal(t, start[n])}
    assert changed == own.keys() - WITHOUT_EFFECT

    features = model(images)[0].detach()
    torch.save(model.state_dict(), tmp_path / 'trained.pth')
    fresh = build(backbone, case).eval()
    fresh.load_state_dict(torch.load(tmp_path / 'trained.pth', weights_only=True))
    assert torch.equal(fresh(images)[0], features)

    merged, reasons = model.merge()
    torch.testing.assert_close(merged(images)[0], features, rtol=1e-4, atol=1e-4)
    if not reasons:
        assert list(merged.state_dict()) == list(plain.state_dict())
    assert not any('\n' in reason for reason in reasons)


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('case', ['several', 'LoRA parts'])
def test_blocks_that_are_recomputed_give_the_same_gradients(backbone, case):
    gradients = []
    for with_cp in (False, True):
        model = build(backbone, case, with_cp=with_cp).train()
        own = list(model.adapter_parameters().values())
        gradients.append(torch.autograd.grad(loss_of(model), own))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ('backbone', 'case'), [(b, case) for b in BACKBONES for case in REFUSED[b]]
)
def test_what_is_refused_says_why(backbone, case):
    with pytest.raises(UserError, match=REFUSED[backbone][case]) as error:
        build(backbone, case)
    assert '\n' not in str(error.value)
    assert backbone in str(error.value) or 'set project=False' in str(error.value)
