"""Hugging Face's peft: its methods as adapters, and adapters in its format."""

import importlib.util
import json
import sys

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models import PEFTModel, Vim
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.hf_peft import import_peft
from memba_vision.registry import ADAPTERS

VIM = dict(arch=dict(embed_dims=16, num_layers=1, d_state=4), img_size=32, patch_size=8)
TARGETS = ['in_proj', 'out_proj']
LORA = dict(type='LoRA', targets=['x_proj_b', 'dt_proj', 'patch_embed.proj'], rank=3, scale=0.5)
DORA = dict(type='DoRA', targets=['in_proj', 'dt_proj_b'], rank=3, scale=0.5)

#: What a backbone as small as this one asks for; all other methods take peft's defaults.
SETTINGS = {
    'LORA': dict(r=3, lora_alpha=6, lora_dropout=0.1),
    'VERA': dict(r=4),
    'VBLORA': dict(r=2, vector_length=16, num_vectors=32),
    'IA3': dict(feedforward_modules=[]),
    'OFT': dict(oft_block_size=4),
    'BOFT': dict(boft_block_size=4),
    'LOHA': dict(r=3),
    'HRA': dict(r=4),
    'FOURIERFT': dict(n_frequency=10),
    'C3A': dict(block_size=8),
    'GRALORA': dict(r=4),
    'RANDLORA': dict(r=4),
    'PVERA': dict(r=4),
    'SHIRA': dict(r=2),
    'MISS': dict(r=8),
    'PSOFT': dict(r=4),
    'ROAD': dict(group_size=16),
    'WAVEFT': dict(n_frequency=20),
    'LN_TUNING': dict(target_modules=['norm', 'norm_f']),
    'BEFT': dict(target_modules=['dt_proj']),
}

#: Methods that peft itself cannot merge.
UNMERGED = {'LILY': 'is not supported for Lily'}

#: Methods that are refused, and what the line says of them.
REFUSED = {
    'ADALORA': 'the training loop has to move',
    'ADAPTION_PROMPT': 'attention of a transformer',
    'CARTRIDGE': 'tokens before those of a transformer',
    'CPT': 'tokens before those of a transformer',
    'MULTITASK_PROMPT_TUNING': 'tokens before those of a transformer',
    'POLY': 'the number of its task',
    'PREFIX_TUNING': 'tokens before those of a transformer',
    'PROMPT_TUNING': 'PromptTuning and AffixTuning of this package',
    'P_TUNING': 'tokens before those of a transformer',
    'SHADOW': 'a second, smaller transformer',
    'TRAINABLE_TOKENS': 'an embedding of words',
    'XLORA': 'that were trained before',
}


def known_methods():
    """Every method of the installed peft, and nothing where there is none."""
    if importlib.util.find_spec('peft') is None:
        return []
    from peft import PeftType

    return sorted(kind.name for kind in PeftType)


METHODS = [name for name in known_methods() if name not in REFUSED]

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
    return dict(type='HFPeft', peft_type=peft_type) | dict(target_modules=TARGETS) | settings


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


#: Ways to begin that leave the model's output as it was, though its frozen weights change.
REWRITING = ['pissa', 'pissa_niter_4', 'olora']


@needs_peft
@pytest.mark.parametrize('name', REWRITING)
def test_what_an_initialisation_rewrites_is_saved(name, tmp_path):
    settings = hf('LORA', r=2, init_lora_weights=name)
    model = make_peft(settings)
    expected = make_base()(make_images())[0]
    torch.testing.assert_close(model(make_images())[0], expected, rtol=1e-5, atol=1e-5)
    randomise(model)
    state = model.state_dict()
    assert 'module.layers.0.mixer.in_proj.base_layer.weight' in state
    assert 'module.layers.0.mixer.x_proj.weight' not in state

    base = make_base()
    torch.manual_seed(3)  # pissa_niter draws at random
    fresh = PEFTModel(base, [settings]).eval()
    with torch.no_grad():
        for layer in fresh.module.layers:  # as another machine might work it out
            layer.mixer.in_proj.base_layer.weight.mul_(1 + 1e-3)
    fresh.load_state_dict(state)
    assert torch.equal(fresh(make_images())[0], model(make_images())[0])

    merged, reasons = fresh.merge()
    assert not reasons
    expected = model(make_images())[0]
    torch.testing.assert_close(merged(make_images())[0], expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match=r'HFPeft LORA rewrote frozen weights .* --as merged'):
        model.save_hf(tmp_path)


@needs_peft
def test_a_base_with_other_weights_beside_the_rewritten_ones_is_refused():
    settings = hf('LORA', r=2, init_lora_weights='olora')
    state = make_peft(settings).state_dict()
    with pytest.raises(UserError, match='trained over another base'):
        PEFTModel(make_base(seed=1), [settings]).load_state_dict(state)


class BesideTheMixer(Adapter):
    """Brings a trained layer whose name ends as that of the backbone's own."""

    def attach(self, backbone: nn.Module) -> None:
        """Put it into each block, inside a wrapped layer."""
        for layer in backbone.layers:
            layer.mixer.out_proj = nn.Sequential(layer.mixer.out_proj)
            layer.mixer.out_proj.base_layer = nn.Identity()
            layer.mixer.out_proj.in_proj = nn.Linear(32, 16)


@needs_peft
def test_trained_layers_of_another_adapter_are_not_wrapped(monkeypatch):
    monkeypatch.setitem(ADAPTERS.module_dict, 'BesideTheMixer', BesideTheMixer)
    model = make_peft(dict(type='BesideTheMixer'), hf('LORA', target_modules=['in_proj'], r=2))
    mixer = model.module.layers[0].mixer
    assert hasattr(mixer.in_proj, 'lora_A')
    assert type(mixer.out_proj.in_proj) is nn.Linear


@needs_peft
def test_what_cannot_be_merged_stays_as_it_is():
    model = randomise(make_peft(hf('LORA', r=2, lora_bias=True)))
    merged, (reason,) = model.merge()
    assert 'HFPeft LORA stays: peft cannot merge it' in reason
    assert torch.equal(merged(make_images())[0], model(make_images())[0])


WAYS_TO_NAME = {
    'all_linear': ('all-linear', {'in_proj', 'x_proj', 'x_proj_b', 'dt_proj', 'dt_proj_b'}),
    'regex': (r'layers\.\d+\.mixer\.x_proj(_b)?', {'x_proj', 'x_proj_b'}),
    'one_layer': (r'layers\.0\..*dt_proj', {'dt_proj'}),
    'convolution': (r'.*patch_embed\.proj', {'proj'}),
}


@needs_peft
@pytest.mark.parametrize(('targets', 'expected'), WAYS_TO_NAME.values(), ids=WAYS_TO_NAME)
def test_targets_by_text(targets, expected, tmp_path):
    import peft

    tuning = dict(type='PartialTuning', patterns=['out_proj.weight'])
    model = randomise(make_peft(tuning, hf('LORA', r=2, target_modules=targets)))
    adapted = {name.split('.lora_A')[0] for name in model.adapter_parameters() if 'lora_A' in name}
    assert {name.rpartition('.')[2] for name in adapted} == expected
    merged, reasons = model.merge()
    assert not reasons
    assert list(merged.state_dict()) == list(make_base().state_dict())

    model = randomise(make_peft(hf('LORA', r=2, target_modules=targets)))
    model.save_hf(tmp_path)
    loaded = peft.PeftModel.from_pretrained(make_base(), str(tmp_path)).eval()
    torch.testing.assert_close(loaded(make_images())[0], model(make_images())[0])


@needs_peft
@pytest.mark.parametrize('targets', [[], ['in_proj']], ids=['alone', 'beside_layers'])
def test_parameters_as_targets(targets):
    settings = hf('LORA', r=2, target_modules=targets, target_parameters=['mixer.A_log', 'A_b_log'])
    model = make_peft(settings)
    plain = make_base()(make_images())[0]
    assert torch.equal(model(make_images())[0], plain)
    expected = randomise(model)(make_images())[0]
    assert not torch.allclose(expected, plain)
    fresh = make_peft(settings)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(make_images())[0], expected)
    merged, reasons = model.merge()
    assert not reasons
    assert merged.state_dict().keys() == make_base().state_dict().keys()
    torch.testing.assert_close(merged(make_images())[0], expected, rtol=1e-5, atol=1e-5)


@needs_peft
def test_our_linear_layers_stay_what_they_are():
    model = make_peft(hf('GLORA', target_modules=['in_proj', 'dt_proj']))
    mixer, plain = model.module.layers[0].mixer, make_base().layers[0].mixer
    assert type(mixer.in_proj.base_layer) is type(plain.in_proj)
    assert type(mixer.dt_proj.base_layer) is type(plain.dt_proj)


@needs_peft
def test_modules_that_peft_trains_in_full_are_merged():
    model = randomise(make_peft(hf('LORA', r=2, modules_to_save=['norm_f'])))
    merged, reasons = model.merge()
    assert not reasons
    assert list(merged.state_dict()) == list(make_base().state_dict())
    expected = model(make_images())[0]
    torch.testing.assert_close(merged(make_images())[0], expected, rtol=1e-5, atol=1e-5)


@needs_peft
def test_every_method_is_tried():
    assert not REFUSED.keys() - set(known_methods())


@needs_peft
@pytest.mark.parametrize('name', REFUSED)
def test_a_method_that_cannot_be_used_is_refused_with_its_reason(name):
    message = f'HFPeft: peft_type {name!r} cannot be used: .*{REFUSED[name]}.*; known are .*LORA'
    with pytest.raises(UserError, match=message):
        make_peft(hf(name))


@needs_peft
@pytest.mark.parametrize('name', METHODS)
def test_a_method_of_peft_trains_saves_and_merges_like_ours(name):
    settings = SETTINGS.get(name, {})
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
    torch.testing.assert_close(merged(make_images())[0], expected, rtol=1e-5, atol=1e-5)
    if name in UNMERGED:
        assert UNMERGED[name] in reasons[0]
    else:
        assert not reasons
        assert list(merged.state_dict()) == list(make_base().state_dict())


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


def test_what_we_save_of_some_blocks_names_these(tmp_path):
    vim = VIM | dict(arch=VIM['arch'] | dict(num_layers=2))
    PEFTModel(Vim(**vim), [LORA | dict(targets=['in_proj'], blocks=[0, 0.5])]).save_hf(tmp_path)
    config = json.loads((tmp_path / 'adapter_config.json').read_text())
    assert config['target_modules'] == ['layers.0.mixer.in_proj']


@needs_peft
def test_peft_loads_what_it_made_itself(tmp_path):
    import peft

    model = randomise(make_peft(hf('VERA', r=4)))
    model.save_hf(tmp_path)
    loaded = peft.PeftModel.from_pretrained(make_base(), str(tmp_path)).eval()
    torch.testing.assert_close(loaded(make_images())[0], model(make_images())[0])


ERRORS = {
    'unknown': (dict(peft_type='LORO'), "'LORO' cannot be used; known are .*LORA, .*VERA"),
    'setting': (dict(rank=3), "HFPeft LORA: .*'rank'"),
    'range': (dict(r=0), 'HFPeft LORA: .*positive'),
    'target': (
        dict(target_modules=['qkv']),
        'matches no Linear or Conv2d .* targets .*dt_proj',
    ),
    'norm': (dict(peft_type='LN_TUNING'), "'in_proj' matches no LayerNorm or RMSNorm .* norm_f"),
    'no_target': (dict(target_modules=[]), r'must be a list of layer names, got \[\]'),
    'text': (
        dict(target_modules='in_proj'),
        "='in_proj' matches no .* a regular expression of",
    ),
    'bad_text': (dict(target_modules='(in_proj'), 'is no regular expression: missing '),
    'no_parameter': (dict(target_parameters=['A_lag']), "'A_lag' names no parameter of Vim"),
    'vector': (dict(target_parameters=['mixer.D']), 'only 2d and 3d'),
    'inference': (dict(inference_mode=True), 'inference_mode=True freezes the adapter'),
    'corda': (dict(init_lora_weights='corda'), "'corda' wants a pass over the training data"),
    'eva': (dict(init_lora_weights='eva'), "'eva' wants a pass over the training data"),
    'lora_ga': (dict(init_lora_weights='lora_ga'), "'lora_ga' wants a pass over the training"),
    'loftq': (dict(init_lora_weights='loftq'), 'HFPeft LORA: `loftq_config` must be'),
    'initialisation': (dict(init_lora_weights='best'), "Unknown initialization .*'best'"),
    'missing': (
        dict(init_lora_weights='loftq', loftq_config=dict(loftq_bits=8)),
        "HFPeft LORA: 'loftq_iter' is missing",
    ),
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
