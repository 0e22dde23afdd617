"""What holds for every method that has a preset, on every backbone that has its places.

Size, training, saving, loading and merging.
"""

from functools import cache

import pytest
import torch
from backbones_for_contracts import BACKBONES, FEATURES
from mmpretrain.registry import MODELS
from selection_data import decided

from memba_vision.errors import UserError
from memba_vision.models.peft import fold
from memba_vision.models.peft.low_rank import LowRankLayer
from memba_vision.runs.base_models import read_base_model
from memba_vision.runs.presets import preset_names, read_preset
from memba_vision.zoo.methods import all_methods
from memba_vision.zoo.model_size import build_without_weights, measure_size

SMALL = dict(rank=4, scale=1.0)

METHODS = {method.preset: method for method in all_methods()}

#: Presets with the beginning of the reason why a backbone has them not.
NO_TOKENS = {
    **dict.fromkeys(('prompt_tuning', 'prompt_tuning_wo_proj'), 'PromptTuning needs "tokens"'),
    **dict.fromkeys(
        ('cls_token_tuning', 'hybrid', 'hybrid_wo_proj'), 'PartialTuning needs "cls_token"'
    ),
    'pos_embed_tuning': 'PartialTuning needs "pos_embed"',
}
#: Methods on the grid of patches, where the blocks' sequences are windows of it.
NO_PATCHES = {
    'convpass': 'Convpass needs "patches"',
    'mona': 'Mona needs "patches"',
    'svp': 'SVP needs "patches"',
}
#: Maps take no prompts; windows take those of every block.
NO_PROMPTS = {'vpt_shallow': 'VPT needs "tokens"'}
NO_DEEP_PROMPTS = NO_PROMPTS | {'vpt_deep': 'VPT needs "length"'}
STAGES = NO_TOKENS | {'affix_tuning': r'AffixTuning: the blocks have the widths \[\d+, \d+\]'}
NO_GATE = {
    preset: f'{kind} needs "gate"'
    for kind, presets in {
        'LIM': [f'memba{end}' for end in ('', '_all_proj', '_gate', '_lim_alone', '_no_reset')],
        'RecurrentGate': ['memba_gru', 'memba_lstm'],
        'SSMLoRA': ['ssm_lora'],
    }.items()
    for preset in presets
} | {'memba_no_transfer': 'LIM needs "gate"'}
NO_SINGLE_EMBED = dict.fromkeys(('lora_embed', 'sll_lora'), 'target .* needs "embed"')
NO_QUERIES = {'lora_qv': 'target .attn.q. needs "attn.q"'}
NO_Z = {'lorap_z': 'target .mix.z. needs "mix.z"'}
NO_SCAN = {
    preset: f'{kind} needs "{need}"'
    for kind, need, presets in [
        ('AdditionalScan', 'scan', ['additional_scan']),
        ('AffixTuning', 'scan', ['affix_tuning', 'affix_tuning_wo_proj']),
        ('HiddenLIM', 'state', ['memba_hidden']),
        ('StateOffset', 'scan', ['state_offset']),
        ('PartialTuning', 'scan.A', ['a_tuning']),
        ('PartialTuning', 'scan.D', ['d_tuning']),
        ('PartialTuning', 'scan.bias', ['bias_tuning']),
        ('PartialTuning', 'mix.conv', ['conv1d_tuning']),
        ('SDT', 'scan', ['sdt']),
        ('target .*', 'mix.params', ['lora_x_proj', 'sll_lora', 'memba_all_proj']),
        ('target .*', 'mix.dt', ['lora_dt_proj']),
        ('target .*', 'mix.x', ['lorap_x', 'hybrid', 'hybrid_wo_proj']),
        ('target .*', 'mix.z', ['lorap_z']),
        ('target .*', 'mix.delta', ['lorap_d']),
        ('target .*', 'mix.B', ['lorap_b']),
        ('target .*', 'mix.C', ['lorap_c']),
        ('PromptTuning', 'tokens', ['prompt_tuning', 'prompt_tuning_wo_proj']),
    ]
    for preset in presets
}
TRANSFORMER = NO_GATE | NO_SCAN
REFUSED = {
    'vim': NO_QUERIES,
    'vmamba_v2': STAGES | NO_GATE | NO_SINGLE_EMBED | NO_Z | NO_QUERIES | NO_DEEP_PROMPTS,
    'vmamba_v0': STAGES | NO_QUERIES | NO_DEEP_PROMPTS,
    'mamba_reg': NO_QUERIES,
    'mamba_vision': STAGES | NO_GATE | NO_SINGLE_EMBED | NO_QUERIES | NO_PATCHES | NO_PROMPTS,
    'vit': TRANSFORMER,
    'swin': NO_TOKENS | TRANSFORMER | NO_PATCHES | NO_DEEP_PROMPTS,
    'timm_vit': TRANSFORMER,
}

#: One of each kind is tried with the quick tests: by tokens, by maps, and a transformer.
QUICK = ('vim', 'vmamba_v2', 'vit')


def parameters(cells):
    """Cells as parameters of a test, where those of most backbones are for the slow tests."""
    return [
        pytest.param(
            cell, id='-'.join(cell[:2]), marks=() if cell[0] in QUICK else pytest.mark.slow
        )
        for cell in cells
    ]


CELLS = [(name, preset) for name in BACKBONES for preset in METHODS if preset not in REFUSED[name]]
EMPTY_CELLS = [(name, *cell) for name, cells in REFUSED.items() for cell in cells.items()]
each_cell = pytest.mark.parametrize('cell', parameters(CELLS))

#: Weights of the state that comes before the first block that has one, which is zero.
WITHOUT_EFFECT = {
    f'backbone.module.layers.{block}.gate.carry.weight'
    for block in ('0.mixer', '0.blocks.0.op', '1.blocks.1.op')
}


#: Seeds other than 0, with which no adapter's ReLU is dead for all images from the start.
SEEDS = {('mamba_vision', 'parallel_adapter'): 1}


def build(cell, seed=None, **settings):
    """A tiny classifier with a preset's adapters."""
    name, preset = cell
    torch.manual_seed(SEEDS.get(cell, 0) if seed is None else seed)
    adapters = read_preset(preset, SMALL).adapters
    backbone = dict(type='PEFTModel', module=BACKBONES[name] | settings, adapters=adapters)
    head = dict(type='LinearClsHead', num_classes=4, in_channels=FEATURES.get(name, 16))
    neck = dict(type='GlobalAveragePooling') if name == 'swin' else None
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head))
    return decided(model)


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


@pytest.fixture(scope='module', params=parameters(CELLS))
def run(request):
    """Each method before and after a short training: its cell, both models and the losses."""
    model = build(request.param)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    losses = train(model)
    return request.param, start, model, losses


@cache
def without_weights(arch):
    config = read_base_model(arch)
    return config, build_without_weights(config)


def test_every_preset_describes_its_method():
    assert set(METHODS) == set(preset_names())
    for method in METHODS.values():
        assert method.source and method.formula and method.parameters, method


@pytest.mark.parametrize(
    ('preset', 'arch'),
    [(preset, arch) for preset, method in METHODS.items() for arch in method.parameters],
)
def test_size_on_real_architectures(preset, arch):
    config, backbone = without_weights(arch)
    adapters = read_preset(preset, config.get('adapter_settings', {})).adapters
    assert measure_size(backbone, adapters).trained == METHODS[preset].parameters[arch]


@pytest.mark.parametrize('cell', parameters(EMPTY_CELLS))
def test_a_method_that_a_backbone_cannot_have_says_why_in_a_line(cell):
    name, preset, reason = cell
    with pytest.raises(UserError, match=f'^{reason}') as error:
        build((name, preset))
    assert '\n' not in str(error.value)


def test_a_short_training_lowers_the_loss(run):
    *_, (before, after) = run
    assert after < before


def test_training_changes_what_the_method_owns_and_the_head_and_nothing_else(run):
    _, start, model, _ = run
    owned = {f'backbone.module.{name}' for name in model.backbone.adapter_parameters()}
    owned |= {'head.fc.weight', 'head.fc.bias'}
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, start[n])}
    assert changed == owned - WITHOUT_EFFECT - scales_of_nothing(model)


def scales_of_nothing(model):
    """What GLoRA scales biases by that are zero, as they are before any pre-training."""
    return {
        f'{name}.supports.D.up'
        for name, layer in model.named_modules()
        if hasattr(layer, 'supports')
        if layer.base_layer.bias is not None and not layer.base_layer.bias.any()
    }


def test_saved_and_loaded_into_a_fresh_model(run, tmp_path):
    cell, _, model, _ = run
    torch.save(model.state_dict(), tmp_path / 'trained.pth')
    # What trains in full is in the file, so it is the same over whatever base.
    fresh = build(cell, seed=1 if cell[1] in ('scratch', 'full_fine_tuning') else None)
    fresh.load_state_dict(torch.load(tmp_path / 'trained.pth', weights_only=True))
    fresh.eval()
    with torch.no_grad():
        assert torch.equal(fresh(make_images()), model(make_images()))


def test_merged_equals_unmerged(run):
    (name, preset), _, model, _ = run
    merged, reasons = model.backbone.merge()
    adapters = {adapter['type'] for adapter in read_preset(preset, SMALL).adapters}
    assert {reason.split()[0] for reason in reasons} <= adapters
    assert bool(reasons) != METHODS[preset].merges
    with torch.no_grad():
        torch.testing.assert_close(
            merged(make_images())[0], model.backbone(make_images())[0], rtol=1e-5, atol=1e-5
        )
    if not reasons:
        assert list(merged.state_dict()) == list(MODELS.build(BACKBONES[name]).state_dict())


@torch.no_grad()
def test_a_folded_classifier_answers_as_the_model(run):
    (_, preset), _, model, _ = run
    folded = fold(model)
    torch.testing.assert_close(folded(make_images()), model(make_images()), rtol=1e-5, atol=1e-5)
    layers = [module for module in folded.modules() if isinstance(module, LowRankLayer)]
    if METHODS[preset].merges or preset.startswith(('memba', 'hybrid')):
        assert not layers


def test_merging_leaves_the_model_as_it_was(run):
    _, _, model, _ = run
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fold(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@each_cell
def test_the_pretrained_function_at_step_0(cell):
    expected = build((cell[0], 'linear_probing'), SEEDS.get(cell, 0)).eval().backbone.module
    backbone = build(cell).eval().backbone
    with torch.no_grad():
        same = torch.allclose(backbone(make_images())[0], expected(make_images())[0], atol=1e-6)
    assert same == METHODS[cell[1]].pretrained_at_step_0


def gradients(model):
    torch.manual_seed(1)
    model.zero_grad()
    loss_of(model).backward()
    return [p.grad.clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize('cell', parameters(c for c in CELLS if c[0] != 'vit'))
def test_blocks_that_are_recomputed_give_the_same_gradients(cell):
    plain, recomputed = build(cell).train(), build(cell, with_cp=True).train()
    torch.testing.assert_close(gradients(recomputed), gradients(plain))


#: What is traced on Vim: each way to put something into a graph. The others are made of these, as
#: LoRA in other places or with another scale, rate or start is.
IN_A_GRAPH = [
    *('svp', 'sdt', 'ssf', 'fact_tt', 'fact_tk', 'convpass', 'rep_adapter', 'adaptformer'),
    *('adapter_plus', 'vpt_shallow', 'vpt_deep', 'glora', 'spt_lora', 'gps', 'mona', 'bitfit'),
    *('layernorm_tuning', 'pissa', 'a_tuning', 'd_tuning', 'memba', 'dora', 'prodial', 'ssm_lora'),
]
TRACED = [
    *(('vim', preset) for preset in IN_A_GRAPH),
    *(('vmamba_v2', preset) for preset in ('sdt', 'gps', 'd_tuning', 'additional_scan')),
]


@pytest.mark.slow
@pytest.mark.parametrize('cell', TRACED, ids='-'.join)
def test_compiled_as_one_graph_it_has_the_same_gradients(cell):
    model = build(cell).eval()
    expected = gradients(model)
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    model.zero_grad()
    loss_of(compiled).backward()
    actual = [p.grad for p in model.parameters() if p.requires_grad]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


def has_membrane(preset):
    return any(
        adapter['type'] in ('LIM', 'HiddenLIM') for adapter in read_preset(preset, SMALL).adapters
    )


def test_under_autocast(run):
    (_, preset), _, model, _ = run
    expected = model(make_images())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        actual = model(make_images())
        assert all(torch.isfinite(gradient).all() for gradient in gradients(model))
    if not has_membrane(preset):  # a potential near the threshold may be reset or not
        assert (actual - expected).norm() < 0.03 * expected.norm()
