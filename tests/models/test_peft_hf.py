"""Hugging Face's peft: its methods as adapters, and adapters in its format."""

import sys

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models import PEFTModel, Vim
from memba_vision.models.peft.hf_peft import import_peft

VIM = dict(arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)
TARGETS = ['in_proj', 'out_proj']
LORA = dict(type='LoRA', targets=['x_proj_b', 'dt_proj', 'patch_embed.proj'], rank=3, scale=0.5)
DORA = dict(type='DoRA', targets=['in_proj', 'dt_proj_b'], rank=3, scale=0.5)

#: Methods with the settings that so small a backbone asks for.
METHODS = {
    'LORA': dict(r=3, lora_alpha=6, lora_dropout=0.1),
    'VERA': dict(r=4),
    'VBLORA': dict(r=2, vector_length=16, num_vectors=32),
    'IA3': dict(feedforward_modules=[]),
    'OFT': dict(oft_block_size=4),
    'LOHA': dict(r=3),
    'HRA': dict(r=4),
    'FOURIERFT': dict(n_frequency=10),
}

needs_peft = pytest.mark.usefixtures('_peft')


@pytest.fixture
def _peft():
    pytest.importorskip('peft', reason="pip install -e '.[test]' brings it")


def make_base(seed=0):
    torch.manual_seed(seed)
    return Vim(**VIM).eval()


def make_peft(*adapters):
    return PEFTModel(make_base(), adapters).eval()


def hf(peft_type, **settings):
    return dict(type='HFPeft', peft_type=peft_type, target_modules=TARGETS, **settings)


def make_images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def randomise(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@needs_peft
def test_what_peft_freezes_is_saved_with_the_rest():
    settings = hf('VERA', r=4)
    torch.manual_seed(0)
    model = randomise(make_peft(settings))
    fresh = make_peft(settings)
    with torch.no_grad():
        for name, buffer in fresh.named_buffers():
            buffer.mul_(-1 if 'vera_A' in name else 1)  # as another release might draw it
    assert not torch.allclose(fresh(make_images())[0], model(make_images())[0])
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(make_images())[0], model(make_images())[0])


@needs_peft
@pytest.mark.parametrize('name', ['pissa', 'pissa_niter_4', 'olora'])
def test_initialisations_that_rewrite_the_base_are_refused(name):
    with pytest.raises(UserError, match='rewrites the frozen weights'):
        make_peft(hf('LORA', r=2, init_lora_weights=name))


@needs_peft
def test_modules_that_peft_trains_in_full_are_merged():
    model = randomise(make_peft(hf('LORA', r=2, modules_to_save=['norm_f'])))
    merged, reasons = model.merge()
    assert not reasons
    assert list(merged.state_dict()) == list(make_base().state_dict())
    expected = model(make_images())[0]
    torch.testing.assert_close(merged(make_images())[0], expected, rtol=1e-5, atol=1e-5)


@needs_peft
@pytest.mark.parametrize(('name', 'settings'), METHODS.items(), ids=METHODS)
def test_a_method_of_peft_trains_saves_and_merges_like_ours(name, settings):
    model = make_peft(hf(name, **settings))
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    target = torch.randn(4, 16, generator=torch.Generator().manual_seed(2))
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        losses.append(nn.functional.mse_loss(model(make_images())[0], target))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    owned = {f'module.{name}' for name in model.adapter_parameters()}
    assert {n for n, p in model.named_parameters() if not torch.equal(p, start[n])} == owned

    fresh = make_peft(hf(name, **settings))
    fresh.load_state_dict(model.state_dict())
    expected = model(make_images())[0]
    assert torch.equal(fresh(make_images())[0], expected)

    merged, reasons = model.merge()
    assert not reasons
    assert list(merged.state_dict()) == list(make_base().state_dict())
    torch.testing.assert_close(merged(make_images())[0], expected, rtol=1e-5, atol=1e-5)


@needs_peft
def test_it_goes_with_our_adapters():
    tuning = dict(type='PartialTuning', patterns=['D', 'D_b'])
    lora = dict(type='LoRA', targets=['x_proj'], rank=3)
    model = make_peft(tuning, lora, hf('LORA', r=3))
    names = {name.split('.', 3)[3] for name in model.adapter_parameters()}
    assert {'D', 'D_b', 'x_proj.up.weight', 'in_proj.lora_A.default.weight'} <= names
    randomise(model)
    merged, reasons = model.merge()
    assert not reasons
    actual, expected = merged(make_images())[0], model(make_images())[0]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@needs_peft
@pytest.mark.parametrize('adapter', [LORA, DORA], ids=['lora', 'dora'])
def test_peft_loads_what_we_save(adapter, tmp_path):
    import peft

    model = randomise(make_peft(adapter))
    model.save_hf(tmp_path)
    loaded = peft.PeftModel.from_pretrained(make_base(), str(tmp_path)).eval()
    expected = model(make_images())[0]
    torch.testing.assert_close(loaded(make_images())[0], expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(make_base()(make_images())[0], expected)


@needs_peft
def test_peft_loads_what_it_made_itself(tmp_path):
    import peft

    model = randomise(make_peft(hf('VERA', r=4)))
    model.save_hf(tmp_path)
    loaded = peft.PeftModel.from_pretrained(make_base(), str(tmp_path)).eval()
    torch.testing.assert_close(loaded(make_images())[0], model(make_images())[0])


ERRORS = {
    'unknown': (dict(peft_type='LORO'), "'LORO' cannot be used; known are .*LORA, .*VERA"),
    'needs_the_loop': (dict(peft_type='ADALORA'), "'ADALORA' cannot be used"),
    'prompts': (dict(peft_type='PREFIX_TUNING'), 'HFPeft PREFIX_TUNING: '),
    'setting': (dict(rank=3), "HFPeft LORA: .*'rank'"),
    'range': (dict(r=0), 'HFPeft LORA: .*positive'),
    'target': (dict(target_modules=['qkv']), 'matches no Linear or Conv2d .* targets are dt_proj'),
    'text': (dict(target_modules='in_proj'), "must be a list of layer names, got 'in_proj'"),
}


@needs_peft
@pytest.mark.parametrize(('settings', 'message'), ERRORS.values(), ids=ERRORS)
def test_what_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        make_peft(hf('LORA') | settings)


@needs_peft
def test_a_target_with_an_adapter_is_refused():
    with pytest.raises(UserError, match="target 'in_proj' has an adapter already"):
        make_peft(dict(type='LoRA', rank=3), hf('LORA'))
    with pytest.raises(UserError, match="target 'in_proj' has an adapter already"):
        make_peft(hf('LORA'), dict(type='LoRA', rank=3))


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'peft', None)
    with pytest.raises(UserError, match=r'pip install "memba_vision\[peft\]"'):
        import_peft()
    with pytest.raises(UserError, match=r'pip install "memba_vision\[peft\]"'):
        MODELS.build(dict(type='PEFTModel', module=make_base(), adapters=[hf('LORA')]))


@pytest.mark.parametrize(
    ('adapters', 'message'),
    [
        ([dict(type='StateOffset')], 'StateOffset is no method of the peft library'),
        ([], 'the adapters here are: none'),
        ([DORA, LORA | dict(targets=['dt_proj'])], 'the adapters here are: DoRA, LoRA'),
    ],
    ids=['no_method', 'none', 'two'],
)
def test_what_pefts_format_cannot_hold(adapters, message, tmp_path):
    with pytest.raises(UserError, match=message):
        make_peft(*adapters).save_hf(tmp_path)
