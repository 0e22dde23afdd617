"""What holds for every method that has a preset: size, training, saving, loading and merging."""

import copy

import pytest
import torch
from mmpretrain.registry import MODELS

from memba_vision.models import Vim
from memba_vision.models.peft.model import attach_adapters
from memba_vision.runs.presets import preset_names, read_preset
from memba_vision.zoo.methods import all_methods

VIM = dict(type='Vim', arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)
SMALL = dict(rank=3, scale=1.0)

METHODS = {method.preset: method for method in all_methods()}

#: Weights of the state that comes before the first block, which is zero.
WITHOUT_EFFECT = {'backbone.module.layers.0.mixer.gate.carry.weight'}


def build(preset, seed=0, **vim):
    """A tiny classifier with a preset's adapters."""
    torch.manual_seed(seed)
    adapters = read_preset(preset, SMALL).adapters
    backbone = dict(type='PEFTModel', module=VIM | vim, adapters=adapters)
    head = dict(type='LinearClsHead', num_classes=4, in_channels=16)
    return MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head))


def make_images(batch=8):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def loss_of(model):
    labels = torch.arange(8) % 4
    return torch.nn.functional.cross_entropy(model(make_images()), labels)


def train(model, steps=4):
    """The loss before and after a few steps, without dropout."""
    model.eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    before = loss_of(model).item()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
    with torch.no_grad():
        return before, loss_of(model).item()


@pytest.fixture(scope='module', params=METHODS)
def run(request):
    """Each method before and after a short training: its name, both models and the losses."""
    model = build(request.param)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    losses = train(model)
    return request.param, start, model, losses


@pytest.fixture(scope='module')
def vim_small():
    with torch.device('meta'):
        return Vim('small')


def test_every_preset_describes_its_method():
    assert set(METHODS) == set(preset_names())
    for method in METHODS.values():
        assert method.source and method.formula and method.parameters, method


@pytest.mark.parametrize('preset', METHODS)
def test_size_on_vim_small(preset, vim_small):
    model = copy.deepcopy(vim_small)
    with torch.device('meta'):
        attach_adapters(model, read_preset(preset, {}).adapters)
    assert (
        sum(p.numel() for p in model.parameters() if p.requires_grad)
        == (METHODS[preset].parameters['vim_small'])
    )


def test_a_short_training_lowers_the_loss(run):
    *_, (before, after) = run
    assert after < before


def test_training_changes_what_the_method_owns_and_the_head_and_nothing_else(run):
    _, start, model, _ = run
    owned = {f'backbone.module.{name}' for name in model.backbone.adapter_parameters()}
    owned |= {'head.fc.weight', 'head.fc.bias'}
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, start[n])}
    assert changed == owned - WITHOUT_EFFECT


def test_saved_and_loaded_into_a_fresh_model(run, tmp_path):
    preset, _, model, _ = run
    torch.save(model.state_dict(), tmp_path / 'trained.pth')
    # What trains in full is in the file, so it is the same over whatever base.
    fresh = build(preset, seed=1 if preset in ('scratch', 'full_fine_tuning') else 0)
    fresh.load_state_dict(torch.load(tmp_path / 'trained.pth', weights_only=True))
    fresh.eval()
    with torch.no_grad():
        assert torch.equal(fresh(make_images()), model(make_images()))


def test_merged_equals_unmerged(run):
    preset, _, model, _ = run
    merged, reasons = model.backbone.merge()
    adapters = {adapter['type'] for adapter in read_preset(preset, SMALL).adapters}
    assert {reason.split()[0] for reason in reasons} <= adapters
    assert bool(reasons) != METHODS[preset].merges
    with torch.no_grad():
        torch.testing.assert_close(
            merged(make_images())[0], model.backbone(make_images())[0], rtol=1e-5, atol=1e-5
        )
    if not reasons:
        assert list(merged.state_dict()) == list(MODELS.build(VIM).state_dict())


def test_merging_leaves_the_model_as_it_was(run):
    _, _, model, _ = run
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.backbone.merge()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize('preset', METHODS)
def test_the_pretrained_function_at_step_0(preset):
    torch.manual_seed(0)
    expected = MODELS.build(VIM).eval()
    backbone = build(preset).eval().backbone
    with torch.no_grad():
        same = torch.allclose(backbone(make_images())[0], expected(make_images())[0], atol=1e-6)
    assert same == METHODS[preset].pretrained_at_step_0


def gradients(model):
    torch.manual_seed(1)
    loss = loss_of(model)
    return torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize('preset', METHODS)
def test_blocks_that_are_recomputed_give_the_same_gradients(preset):
    plain, recomputed = build(preset).train(), build(preset, with_cp=True).train()
    torch.testing.assert_close(gradients(recomputed), gradients(plain))


def has_membrane(preset):
    return any(adapter['type'] == 'LIM' for adapter in read_preset(preset, SMALL).adapters)


def test_under_autocast(run):
    preset, _, model, _ = run
    expected = model(make_images())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        actual = model(make_images())
        assert all(torch.isfinite(gradient).all() for gradient in gradients(model))
    if not has_membrane(preset):  # a potential near the threshold may be reset or not
        assert (actual - expected).norm() < 0.03 * expected.norm()
