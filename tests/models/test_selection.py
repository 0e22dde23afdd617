"""Adapters that choose by data: what they measure, choose and compute, and when they wait."""

import copy
from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from backbones_for_contracts import BACKBONES
from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from selection_data import METHODS, build, decided, make_loader
from torch import nn

from memba_vision.engine.selection import decide, selection_seconds
from memba_vision.errors import UserError
from memba_vision.models.peft.eva import ObservedLayer, principal_directions
from memba_vision.models.peft.gps import GPS, supervised_contrastive_loss
from memba_vision.models.peft.lora_layers import LoRALinear
from memba_vision.models.peft.sdt import SDT
from memba_vision.models.peft.selection import gradient_of
from memba_vision.models.peft.sparse import SparseLayer, decode_positions, encode_positions
from memba_vision.models.peft.spt_lora import SPTLoRA
from memba_vision.registry import ADAPTERS
from memba_vision.runs.base_models import read_base_model
from memba_vision.runs.presets import read_preset
from memba_vision.zoo.model_size import build_without_weights


def make_images(batch=8):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def summed_gradients(model, loss, names, power=1):
    """Sums over the loader's two batches, of a plain copy of the model that trains in full."""
    plain = copy.deepcopy(model)
    plain.init_weights()
    plain.requires_grad_(True)
    total = {name: 0 for name in names}
    for first in (0, 4):
        plain.zero_grad()
        loss(plain, make_images()[first : first + 4], torch.arange(first, first + 4) % 2).backward()
        for name in names:
            total[name] += plain.backbone.module.get_submodule(name).weight.grad ** power
    return total


# Sparse updates


@pytest.mark.parametrize('positions', [[0], [3, 4, 70_000, 5_000_000], []], ids=str)
def test_positions_survive_as_text(positions):
    given = torch.tensor(positions, dtype=torch.int64)
    assert torch.equal(decode_positions(encode_positions(given)), given)


LAYERS = {
    'linear': nn.Linear(5, 3),
    'convolution': nn.Conv2d(4, 3, 3, padding=1),
    'reflecting': nn.Conv2d(4, 3, 3, padding=1, padding_mode='reflect'),
}


@pytest.mark.parametrize('base', LAYERS.values(), ids=LAYERS)
def test_single_weights_change(base):
    layer = SparseLayer(base.requires_grad_(False), torch.tensor([1, 7, 12]))
    x = torch.randn(2, 4, 6, 5)
    torch.testing.assert_close(layer(x), base(x))
    nn.init.normal_(layer.change.values)
    changed = copy.deepcopy(base)
    changed.weight.data.flatten()[[1, 7, 12]] += layer.change.values.detach()
    torch.testing.assert_close(layer(x), changed(x))
    layer(x).sum().backward()
    torch.testing.assert_close(layer.merged()(x), changed(x))


@pytest.mark.parametrize('start', [0, 5])
def test_a_part_of_a_parameter_has_a_part_of_its_gradient(start):
    whole = nn.Parameter(torch.randn(start + 24)[start:].view(3, 4, 2))
    part = whole[1]
    (whole**2).sum().backward()
    torch.testing.assert_close(gradient_of(part), 2 * part)


# GPS


def test_the_contrastive_loss_is_that_of_the_paper():
    features, labels = torch.randn(6, 5).double(), torch.tensor([0, 1, 0, 2, 1, 0])
    z = features / features.norm(dim=1, keepdim=True)
    expected = 0.0
    for i in range(6):
        others = [k for k in range(6) if k != i]
        alike = [k for k in others if labels[k] == labels[i]]
        below = sum(torch.exp(z[i] @ z[k] / 0.07) for k in others)
        for p in alike:
            expected = expected - torch.log(torch.exp(z[i] @ z[p] / 0.07) / below) / len(alike)
    torch.testing.assert_close(supervised_contrastive_loss(features, labels), expected / 6)


def test_gps_takes_the_largest_gradients_of_each_row():
    model = build(METHODS['GPS'])
    names = ['patch_embed.proj', 'layers.1.mixer.in_proj', 'layers.0.mixer.x_proj_b']

    def loss(plain, images, labels):
        return supervised_contrastive_loss(plain.backbone.module(images)[0], labels)

    gradients = summed_gradients(model, loss, names)
    decide(model, make_loader(make_images(), classes=2))
    for name in names:
        layer = model.backbone.module.get_submodule(name)
        chosen = torch.zeros(layer.weight.numel()).scatter(0, layer.change.positions, 1.0)
        by_row = chosen.view(len(layer.weight), -1)
        assert (by_row.sum(1) == 2).all()
        sizes = gradients[name].abs().flatten(1)
        assert (
            sizes[by_row == 1].view(-1, 2).min(1).values >= (sizes * (1 - by_row)).amax(1)
        ).all()


def test_gps_trains_the_biases_of_its_layers():
    own = set(decided(build(METHODS['GPS'])).backbone.adapter_parameters())
    assert {'patch_embed.proj.base_layer.bias', 'layers.0.mixer.dt_proj.base_layer.bias'} <= own
    assert not any('norm' in name or 'conv1d' in name for name in own)


# SPT-LoRA


def test_sensitivities_are_squared_gradients_summed_over_batches():
    model = build(METHODS['SPTLoRA'])
    name = 'layers.1.mixer.out_proj'
    adapter, seen = model.backbone.adapters[0], {}
    measure = adapter.measure
    adapter.measure = lambda task: seen.update(measure(task)) or seen

    def loss(plain, images, labels):
        return F.cross_entropy(plain.head.fc(plain.backbone.module(images)[0]), labels)

    torch.manual_seed(0)  # of the head, as in the selection
    expected = summed_gradients(model, loss, [name], power=2)
    decide(model, make_loader(make_images(), classes=2), seed=0)
    torch.testing.assert_close(seen[name], expected[name])


@pytest.mark.parametrize('alpha', [1.0, 3.0, 10.0])
def test_spt_keeps_within_its_budget(alpha):
    generator = torch.Generator().manual_seed(1)
    shapes = [(8, 8), (12, 6), (20, 10), (6, 30)]
    statistics = {
        f'layer{n}': torch.rand(shape, generator=generator) * (n + 1) ** 2
        for n, shape in enumerate(shapes)
    }
    adapter = SPTLoRA(['x'], budget=0.3, rank=1, alpha=alpha)
    choice = adapter.choose(nn.Module(), statistics)
    lora = [sum(shape) for shape in shapes]
    flat = torch.cat([s.flatten() for s in statistics.values()])
    sizes = [a * b for a, b in shapes]
    ranked, best = flat.argsort(descending=True), None
    for number in range(len(flat) + 1):  # the largest that fits
        mask = torch.zeros(len(flat)).scatter(0, ranked[:number], 1.0).split(sizes)
        counts = [part.sum().item() for part in mask]
        trained = [n if c >= n / alpha else c for n, c in zip(lora, counts, strict=True)]
        if sum(trained) <= int(0.3 * len(flat)):
            best = mask, counts
    for name, n, part, count in zip(statistics, lora, *best, strict=True):
        if count >= n / alpha:
            assert choice[name] is None
        else:
            assert decode_positions(choice[name]).tolist() == part.nonzero().flatten().tolist()


@pytest.mark.parametrize('arch', ['vim-mini-v2', 'vit-mini-v2', 'vmamba-mini-v2', 'vim_small'])
def test_the_preset_of_spt_has_room_for_lora(arch):
    config = read_base_model(arch)
    backbone = build_without_weights(config).requires_grad_(False)
    preset = read_preset('spt_lora', config.get('adapter_settings', {}))
    adapter = ADAPTERS.build(preset.adapters[0])
    statistics = adapter.without_data(backbone)
    lora = {name: adapter.settings['rank'] * sum(s.shape) for name, s in statistics.items()}
    for name in [*statistics][::4]:
        statistics[name] *= 100
    choice = adapter.choose(backbone, statistics)
    sizes = {
        n: lora[n] if text is None else len(decode_positions(text)) for n, text in choice.items()
    }
    budget = int(0.45 * sum(lora.values()))
    assert budget / 2 < sum(sizes.values()) <= budget
    largest = max(lora, key=lora.get)
    assert lora[largest] < budget / 5
    assert {text is None for text in choice.values()} == {True, False}


# EVA


def test_directions_are_those_of_the_centred_activations():
    layer = ObservedLayer(nn.Linear(5, 2))
    batches = torch.randn(3, 4, 7, 5) @ torch.randn(5, 5) + 2
    for batch in batches:
        layer(batch)
    rows = batches.flatten(0, -2).double()
    _, values, expected = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    shares, directions = principal_directions(layer.moments)
    torch.testing.assert_close(shares, values**2 / (values**2).sum())
    torch.testing.assert_close((directions * expected).sum(1).abs(), torch.ones(5).double())


def test_eva_gives_ranks_to_layers_that_explain_most():
    model = decided(build(METHODS['EVA']))
    adapter, module = model.backbone.adapters[0], model.backbone.module
    assert sum(adapter.choice.values()) == 3 * len(adapter.choice)
    assert max(adapter.choice.values()) <= 6
    layers = {n: m for n, m in module.named_modules() if isinstance(m, LoRALinear)}
    assert {n: m.down.out_features for n, m in layers.items()} == {
        n: rank for n, rank in adapter.choice.items() if rank
    }
    for layer in layers.values():
        down = layer.down.weight
        torch.testing.assert_close(down @ down.T, torch.eye(len(down)), rtol=1e-5, atol=1e-5)
        assert not layer.up.weight.any()


def test_eva_starts_from_the_inputs_of_the_task():
    inputs, model = [], build(METHODS['EVA'])
    first = model.backbone.module.layers[0].mixer.in_proj
    handle = first.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    model(make_images())
    handle.remove()
    decide(model, make_loader(make_images()))
    rows = inputs[0].flatten(0, -2)
    right = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)[2]
    down = model.backbone.module.layers[0].mixer.in_proj.down.weight
    likeness = (down * right[: len(down)]).sum(1).abs()
    torch.testing.assert_close(likeness, torch.ones(len(down)), rtol=1e-3, atol=1e-3)


# SDT


def test_sdt_takes_the_states_that_moved_most_of_the_channels_that_moved_most():
    change = torch.tensor([[0.0, 3, 1], [0.1, 0, 0], [-5, 1, 2], [0, 0, 0.2]])
    chosen = decode_positions(SDT(0.5, 0.34).choose(nn.Module(), {'scan': change})['scan'])
    assert chosen.tolist() == [1, 6]


@pytest.mark.parametrize('backbone', ['vim', 'vmamba_v0'])
def test_sdt_changes_rates_and_columns_of_b_and_c(backbone):
    model = decided(build(METHODS['SDT'], backbone=backbone))
    plain = copy.deepcopy(model.backbone)
    with torch.no_grad():
        for parameter in model.backbone.adapter_parameters().values():
            parameter.normal_(std=0.3)
    merged, reasons = model.backbone.merge()
    assert not reasons
    before = plain.merge()[0].state_dict()
    changed = {
        name: (tensor != before[name]).sum().item()
        for name, tensor in merged.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    if backbone == 'vim':  # 32 channels, 4 states: 6 channels and 2 states of each
        assert changed['layers.0.mixer.A_log'] == 12
        assert changed['layers.0.mixer.x_proj_b.weight'] == 6 * 2 * 4
        torch.testing.assert_close(
            merged(make_images())[0], model.backbone(make_images())[0], rtol=1e-5, atol=1e-5
        )
    assert {name.split('.')[-2 if name.endswith('.weight') else -1] for name in changed} <= {
        *('A_log', 'A_b_log', 'x_proj', 'x_proj_b', 'out_proj', 'A_logs', 'x_proj_weight')
    }


def test_sdt_is_the_backbone_with_some_entries_changed():
    model = decided(build(METHODS['SDT'])).backbone
    images = make_images()
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.normal_(std=0.3)
        plain, before = sdt_by_hand(model), model.module.state_dict()
        torch.testing.assert_close(model(images)[0], plain(images)[0])
        changed = plain.state_dict()
    for name, entries in (('mixer.A_log', 12), ('mixer.x_proj_b.weight', 48)):
        weight = before[f'layers.1.{name}'.replace('.weight', '.base_layer.weight')]
        assert (changed[f'layers.1.{name}'] != weight).sum() == entries


def sdt_by_hand(model):
    """A plain Vim, to whose weights all that SDT trains is added, entry by entry."""
    plain = MODELS.build(BACKBONES['vim']).eval()
    own = {name.replace('.base_layer', ''): t for name, t in model.module.state_dict().items()}
    plain.load_state_dict({name: own[name] for name in plain.state_dict()})
    for adapted, layer in zip(model.module.layers, plain.layers, strict=True):
        mixer, changed = layer.mixer, adapted.mixer
        for end, rates in (('', mixer.A_log), ('_b', mixer.A_b_log)):
            scan, rows = getattr(changed, f'scan{end}'), getattr(mixer, f'x_proj{end}').weight[1:]
            places = scan.change.positions.tolist()  # of 32 channels with 4 states each
            for place, value in zip(places, scan.change.values, strict=True):
                rates[place // 4, place % 4] += value
            columns = sorted({place // 4 for place in places})
            values = getattr(changed, f'x_proj{end}').change.values
            rows[:, columns] += values.view(len(rows), -1)  # below them is the one of dt
        low_rank = changed.out_proj
        mixer.out_proj.weight += low_rank.up.weight @ low_rank.down.weight
    return plain


def test_the_warm_up_of_sdt_trains_rates_and_head():
    model, seen = build(METHODS['SDT'] | dict(lr=0.01)), {}
    adapter = model.backbone.adapters[0]
    measure = adapter.measure
    adapter.measure = lambda task: seen.update(measure(task)) or seen
    plain = copy.deepcopy(model)
    torch.manual_seed(0)
    plain.init_weights()
    decide(model, make_loader(make_images(), classes=2))
    vim, fc = plain.backbone.module, plain.head.fc
    rates = [getattr(b.mixer, n).requires_grad_() for b in vim.layers for n in ('A_log', 'A_b_log')]
    start = rates[0].detach().clone()
    optimizer = torch.optim.AdamW([*rates, *fc.parameters()], 0.01, weight_decay=0.0)
    for first in (0, 4):
        logits = fc(vim(make_images()[first : first + 4])[0])
        optimizer.zero_grad()
        F.cross_entropy(logits, torch.arange(first, first + 4) % 2).backward()
        optimizer.step()
    torch.testing.assert_close(seen['layers.0.mixer.scan'], rates[0].detach() - start)


# When a choice is made


@pytest.mark.parametrize('method', METHODS)
def test_a_model_waits_for_its_choice(method, tmp_path):
    waiting, model = build(METHODS[method]), build(METHODS[method])
    assert not waiting.backbone.adapter_parameters()
    with pytest.raises(UserError, match=f'^{method} chooses by data what it trains, and has not'):
        waiting.train()(make_images())
    plain, (folded, reasons) = build().backbone, waiting.backbone.merge()
    assert not reasons and folded.state_dict().keys() == plain.module.state_dict().keys()
    torch.testing.assert_close(waiting.eval().backbone(make_images())[0], plain(make_images())[0])
    again = copy.deepcopy(model)
    torch.manual_seed(3)
    record = decide(model, make_loader(make_images()))
    torch.manual_seed(3)
    if method != 'EVA':  # which also has values at the start
        again.backbone.decide(record.choices)  # no random number was drawn for the choice
        state = again.backbone.state_dict()
        for name, tensor in model.backbone.state_dict().items():
            assert name.endswith('peft_header') or torch.equal(tensor, state[name])
    assert record.images == 8 and record.seconds == pytest.approx(selection_seconds(model), abs=0.1)
    with torch.no_grad():
        for parameter in model.backbone.adapter_parameters().values():
            parameter.add_(0.1)
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    waiting.load_state_dict(torch.load(tmp_path / 'model.pth', weights_only=True))
    assert waiting.backbone.header == model.backbone.header
    assert torch.equal(waiting(make_images()), model(make_images()))


def test_the_choice_of_other_settings_is_not_taken():
    model, other = decided(build(METHODS['GPS'])), build(METHODS['GPS'] | dict(k=1))
    with pytest.raises(UserError, match='of other adapters') as error:
        other.load_state_dict(model.state_dict())
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize('method', METHODS)
def test_the_choice_of_another_backbone_is_refused_and_changes_nothing(method):
    model = build(METHODS[method]).backbone
    good = decided(build(METHODS[method])).backbone.adapters[0].choice
    last = list(good)[-1]
    for choice in ({}, {k: v for k, v in good.items() if k != last}, {**good, 'other': good[last]}):
        with pytest.raises(UserError, match=rf'^{method}: its choice does not fit .+ another back'):
            model.decide([choice])
        assert model.undecided == (0,)
        with pytest.raises(UserError, match='its choice does not fit'):
            build(METHODS[method] | dict(choice=choice))
    model.decide([good])
    assert model.adapter_parameters()


@pytest.mark.parametrize(
    'other', [dict(type='ParallelAdapter', rank=3), dict(type='LoRA', targets=['mix.x'], rank=5)]
)
def test_values_at_the_start_reach_the_adapter_that_gave_them(other):
    targets = ['out_proj'] if other['type'] == 'ParallelAdapter' else ['in_proj']
    eva = METHODS['EVA'] | dict(targets=targets, rho=1)
    alone, both = (decided(build(eva, *more)).backbone.module for more in ([], [other]))
    for number in range(len(alone.layers)):
        expected, adapted = (
            getattr(module.layers[number].mixer, targets[0]) for module in (alone, both)
        )
        assert isinstance(adapted.base_layer, LoRALinear)
        assert torch.equal(adapted.base_layer.down.weight, expected.down.weight)


def test_others_wait_with_them_and_keep_their_order():
    lora = dict(type='LoRA', targets=['out_proj'], rank=2)
    model = build(lora, METHODS['EVA'] | dict(targets=['in_proj']))
    assert not model.backbone.adapter_parameters()
    names = {type(a).__name__ for a in decided(model).backbone.adapters}
    own = model.backbone.adapter_parameters()
    assert names == {'LoRA', 'EVA'} and any('out_proj.up' in name for name in own)


@pytest.mark.parametrize(('wanted', 'seen'), [(3, 3), (6, 6), (8, 8), (19, 8)])
def test_images_are_counted(wanted, seen):
    model = build(METHODS['EVA'] | dict(images=wanted))
    assert decide(model, make_loader(make_images())).images == seen


@pytest.mark.parametrize('method', ['GPS', 'EVA'])
def test_an_endless_loader_is_gone_through_once_and_not_moved(method):
    batches = make_loader(make_images(), size=1)
    images = [dict(inputs=b['inputs'][0], data_samples=b['data_samples'][0]) for b in batches]
    loader = Runner.build_dataloader(
        dict(
            dataset=images,
            batch_size=4,
            sampler=dict(type='InfiniteSampler', shuffle=True),
            collate_fn=dict(type='pseudo_collate'),
        ),
        seed=0,
    )
    assert decide(build(METHODS[method]), loader).images == 8
    expected = InfiniteSampler(images, shuffle=True, seed=0)
    assert list(islice(loader.sampler, 20)) == list(islice(expected, 20))


@pytest.mark.parametrize(
    ('adapter', 'message'),
    [
        (dict(type='GPS', k=0), 'k must be at least 1, got 0'),
        (dict(type='GPS', k=1.5), 'k must be a whole number, got 1.5'),
        (dict(type='GPS', choice=[1]), r'choice is a dict by the names of places, got \[1\]'),
        (dict(type='EVA', rho=float('nan')), 'rho must be a number, got nan'),
        (dict(type='EVA', scale='a'), "scale must be a number, got 'a'"),
        (dict(type='GPS', images=0), 'images must be at least 1'),
        (dict(type='SPTLoRA', budget=0), 'budget must be above 0'),
        (dict(type='SPTLoRA', lora_share=2), 'lora_share must be above 0 and at most 1, got 2'),
        (dict(type='SPTLoRA', budget=0.1, lora_share=0.5), 'leave one of them out'),
        (dict(type='SPTLoRA', alpha=0.5), 'alpha must be at least 1'),
        (dict(type='SDT', channels=2), 'channels must be above 0 and at most 1'),
        (dict(type='SDT', lr=0), 'lr must be above 0'),
        (dict(type='EVA', rho=0.5), 'rho must be at least 1'),
    ],
    ids=str,
)
def test_settings_out_of_range(adapter, message):
    with pytest.raises(UserError, match=message):
        build(adapter)


def test_without_data_nothing_is_preferred():
    module = MODELS.build(BACKBONES['vim']).requires_grad_(False)
    statistics = GPS().without_data(module)
    assert all((gradient == 1).all() for gradient in statistics.values())
