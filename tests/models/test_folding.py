"""Models whose adapters are folded: what folds, what they compute, and what they refuse."""

import copy

import pytest
import torch
from mmengine.runner.checkpoint import get_state_dict
from mmpretrain.registry import MODELS

import memba_vision
from memba_vision.errors import UserError
from memba_vision.models.backbones import MambaVision, Vim
from memba_vision.models.modules.scan import DirectionScan
from memba_vision.models.peft import FoldedBackbone, PEFTModel
from memba_vision.models.peft.low_rank import LowRankLayer

VIM = dict(type='Vim', arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)
LORA = dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=3, scale=0.5)
PART = dict(type='PartialLoRA', part='x', rank=2)
GATES = {
    'lim': dict(type='LIM'),
    'lim_gate': dict(type='LIM', site='gate'),
    'gru': dict(type='RecurrentGate', cell='gru'),
}


def build(*adapters):
    """A classifier with random adapters, in evaluation mode."""
    torch.manual_seed(0)
    backbone = dict(type='PEFTModel', module=VIM, adapters=list(adapters))
    head = dict(type='LinearClsHead', num_classes=4, in_channels=16)
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))
    with torch.no_grad():
        for parameter in model.backbone.adapter_parameters().values():
            parameter.normal_(std=0.3)
    return model.eval()


def images(batch=2):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('gate', GATES)
@pytest.mark.parametrize('below', [[], [PART]], ids=['alone', 'on_a_part'])
@torch.no_grad()
def test_of_memba_all_folds_but_what_leads_to_the_membrane(gate, below):
    model = build(*below, LORA, GATES[gate])
    folded = memba_vision.fold(model)
    assert not any(isinstance(module, LowRankLayer) for module in folded.modules())
    taps = 0 if gate == 'lim_gate' else 2  # `down` of in_proj, and the rows of `up` for the gate
    names = [name for name, _ in folded.named_modules() if name.endswith(('.down', '.up'))]
    assert len(names) == taps * VIM['arch']['num_layers']
    assert len(folded.backbone.stays) == 1
    torch.testing.assert_close(folded(images()), model(images()), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_model_that_was_given_stays_as_it_was():
    model = build(LORA, GATES['lim'])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = model(images())
    folded = memba_vision.fold(model)
    folded.backbone.module.layers[0].mixer.out_proj.weight.zero_()
    assert folded is not model and folded.head is model.head
    assert isinstance(folded.backbone, FoldedBackbone)
    assert torch.equal(model(images()), expected)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    model.train()
    assert not folded.backbone.training


def test_folding_twice_and_where_there_is_nothing_to_fold():
    folded = memba_vision.fold(build(LORA))
    assert memba_vision.fold(folded) is folded
    for model in (build(), torch.nn.Linear(2, 2)):
        assert memba_vision.fold(model) is model
    backbone = memba_vision.fold(build(LORA).backbone)
    assert isinstance(backbone, FoldedBackbone)
    assert memba_vision.fold(backbone) is backbone
    assert backbone.embed_dims == 16


@pytest.mark.parametrize(
    ('use', 'instead'),
    [
        (lambda model: model.state_dict(), 'save'),
        (get_state_dict, 'save'),
        (lambda model: model.train(), 'train'),
        (lambda model: model.load_state_dict(build(LORA).state_dict()), 'load weights into'),
    ],
    ids=['state_dict', 'mmengine', 'train', 'load_state_dict'],
)
def test_a_folded_model_neither_trains_nor_is_saved(use, instead):
    folded = copy.deepcopy(memba_vision.fold(build(LORA)))
    with pytest.raises(UserError, match=f'{instead} the model that was given to memba_vision.fold'):
        use(folded)
    assert not any(parameter.requires_grad for parameter in folded.backbone.parameters())
    folded.eval()


@torch.no_grad()
def test_weights_are_summed_in_their_own_precision_under_autocast():
    model = build(LORA, GATES['lim'])
    plain = memba_vision.fold(model)
    with torch.autocast('cpu', torch.bfloat16):
        folded = memba_vision.fold(model)
        half = folded(images()).float()
    assert torch.equal(folded(images()), plain(images()))
    torch.testing.assert_close(half, model(images()), rtol=0.05, atol=0.05)


MAMBA_VISION = dict(embed_dims=8, stem_dims=8, depths=(1, 1, 2, 2), num_heads=(2, 4))
CHANGE_BIASES = {
    'ssf': dict(type='SSF'),
    'glora': dict(type='GLoRA', targets=['dt_proj']),
    'rep_adapter': dict(type='RepAdapter', targets=['dt_proj'], rank=2, groups=1),
    'ia3': dict(type='HFPeft', peft_type='IA3', target_modules=['dt_proj'], feedforward_modules=[]),
    'lora': dict(type='LoRA', targets=['dt_proj'], rank=2),
}


@pytest.mark.parametrize('adapter', CHANGE_BIASES.values(), ids=CHANGE_BIASES)
@torch.no_grad()
def test_a_bias_that_is_added_twice_folds(adapter, monkeypatch):
    backbone = MambaVision(MAMBA_VISION | dict(window_sizes=(2, 1)), img_size=32)
    if adapter['type'] == 'HFPeft':
        pytest.importorskip('peft')
    model = shaken(PEFTModel(backbone, [adapter]))
    steps, run = [], DirectionScan.run

    def watched(scan, inputs, call):
        steps.append(inputs.delta + inputs.delta_bias[:, None])
        return run(scan, inputs, call)

    monkeypatch.setattr(DirectionScan, 'run', watched)
    folded = memba_vision.fold(model)
    assert not folded.stays
    model(images())
    first, steps[:] = list(steps), []
    folded(images())
    assert first
    torch.testing.assert_close(steps, first, rtol=1e-4, atol=1e-4)


def shaken(model):
    """An adapted backbone in evaluation mode, its adapters far from where they start."""
    torch.manual_seed(1)
    if model.undecided:
        model.decide_without_data()
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


TIED = {
    'weight': ('dt_proj.weight', dict(type='SSF')),
    'bias': ('dt_proj.bias', dict(type='GLoRA', targets=['dt_proj', 'dt_proj_b'])),
    'A_log': ('A_log', dict(type='SDT', channels=0.5, states=0.5)),
}


@pytest.mark.parametrize(('name', 'adapter'), TIED.values(), ids=TIED)
@torch.no_grad()
def test_tied_parameters_fold_alone(name, adapter):
    torch.manual_seed(0)
    backbone = Vim(VIM['arch'], img_size=32, patch_size=8)
    for layer in backbone.layers:
        module, _, last = f'mixer.{name}'.rpartition('.')
        other = 'A_b_log' if last == 'A_log' else last
        shared = getattr(layer.get_submodule(module), last)
        setattr(layer.get_submodule(module.replace('dt_proj', 'dt_proj_b')), other, shared)
    model = shaken(PEFTModel(backbone, [adapter]))
    expected = model(images())
    torch.testing.assert_close(memba_vision.fold(model)(images()), expected, rtol=1e-4, atol=1e-4)
