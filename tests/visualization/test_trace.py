"""What is computed once more equals what the model itself computed."""

import math

import pytest
import torch
from mmpretrain.registry import MODELS

from memba_vision.models.peft.model import attach_adapters
from memba_vision.visualization.maps import to_image_order, token_grid
from memba_vision.visualization.trace import (
    GateCall,
    find_membranes,
    gates_around,
    integrate,
    summarise,
    trace_layer,
    watch_gates,
    watching,
)

LORA = dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=3, scale=1.0)


def make_vim(*adapters: dict, img_size: int = 32, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    arch = dict(embed_dims=16, num_layers=3, d_state=4)
    vim = MODELS.build(dict(type='Vim', arch=arch, img_size=img_size, patch_size=8))
    attach_adapters(vim, adapters)
    for name, parameter in vim.named_parameters():
        if '.up.' in name:
            torch.nn.init.normal_(parameter)
    return vim.eval()


def lim(site: str, **settings) -> dict:
    return dict(type='LIM', site=site, **dict(num_chunks=4, leak=0.9, threshold=0.2) | settings)


def calls_of(vim: torch.nn.Module, images: torch.Tensor) -> list[GateCall]:
    calls = []
    with torch.no_grad(), watching(vim, calls.append):
        vim(images)
    return calls


SITES = {'lora': [LORA, lim('lora')], 'gate': [LORA, lim('gate')], 'gate alone': [lim('gate')]}


@pytest.mark.parametrize('site', SITES)
@pytest.mark.parametrize('num_chunks', [1, 3, 4, 5, 40])
def test_gates_and_states_are_those_of_the_model(site, num_chunks):
    *others, membrane = SITES[site]
    vim = make_vim(*others, {**membrane, 'num_chunks': num_chunks})
    seen = []
    for gate in find_membranes(vim).values():
        gate.register_forward_hook(lambda _, inputs, output: seen.append((inputs, output)))
    calls = calls_of(vim, torch.randn(2, 3, 32, 32))
    assert [call.layer for call in calls] == [0, 1, 2]
    for call, (inputs, (merged, state)) in zip(calls, seen, strict=True):
        potentials = integrate(call)
        with torch.no_grad():
            _, (forward, backward) = gates_around(call, potentials)
        forward_scan, backward_scan = (scan.transpose(1, 2) for scan in inputs[0])
        expected = (forward_scan * forward + backward_scan * backward.flip(-1)) / 2
        torch.testing.assert_close(expected.transpose(1, 2), merged, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(potentials.mean.flatten(0, 1), state[0], rtol=1e-6, atol=1e-6)
    assert integrate(calls[1]).initial.any(), 'the second layer starts from what the first left'


def test_potentials_are_those_of_the_membrane_itself():
    vim = make_vim(*SITES['lora'])
    own = []
    for gate in find_membranes(vim).values():
        gate.membrane.register_forward_hook(lambda _, __, output: own.append(output[0]))
    for call, potentials in zip(calls_of(vim, torch.randn(2, 3, 32, 32)), own, strict=True):
        found = integrate(call).values
        in_image_order = torch.stack([found[0], found[1].flip(-1)]).transpose(2, 3)
        torch.testing.assert_close(in_image_order, potentials, rtol=1e-6, atol=1e-6)


def test_without_transfer_every_layer_starts_from_zero():
    for call in calls_of(make_vim(LORA, lim('lora', cross_layer=False)), torch.randn(1, 3, 32, 32)):
        assert not integrate(call).initial.any()


@pytest.mark.parametrize('site', ['lora', 'gate'])
def test_a_changed_patch_shows_at_its_place_first(site):
    """In the first layer: there, and in later chunks at the same place of the chunk."""
    vim = make_vim(*SITES[site])
    grid = token_grid(vim)
    image = torch.randn(1, 3, 32, 32)
    other = image.clone()
    other[:, :, 8:16, 16:24] += 3  # the patch in row 1, column 2
    traces = [trace_layer(calls_of(vim, pixels)[0]).potential for pixels in (image, other)]
    changed = to_image_order(traces[0]) != to_image_order(traces[1])
    here, chunk = int(grid.patches[1, 2]), -(-17 // 4)
    forward, backward = (set(row.nonzero().flatten().tolist()) for row in changed)
    assert here == min(forward) == max(backward)
    assert forward <= set(range(here, 17, chunk))
    assert backward <= set(range(here, -1, -chunk))
    difference = grid.to_maps(traces[0]) != grid.to_maps(traces[1])
    assert difference[0, 1, 2]
    assert difference[1, 1, 2]
    assert not difference[0, :1].any(), 'the forward direction met the rows above before'


@pytest.mark.parametrize('site', ['lora', 'gate'])
def test_no_threshold_no_reset(site):
    calls = calls_of(make_vim(LORA, lim(site, threshold=None)), torch.randn(1, 3, 32, 32))
    assert all(not trace_layer(call).reset.any() for call in calls)
    shares = [
        trace_layer(call).reset.mean()
        for call in calls_of(make_vim(LORA, lim(site)), torch.randn(1, 3, 32, 32))
    ]
    assert all(0.02 < share < 0.6 for share in shares)


def test_the_gate_before_is_that_of_plain_lora():
    """The membrane with one chunk, no memory and no threshold passes what it gets."""
    passing = lim('lora', num_chunks=1, threshold=None, cross_layer=False)
    for call in calls_of(make_vim(LORA, passing), torch.randn(1, 3, 32, 32)):
        trace = trace_layer(call)
        torch.testing.assert_close(trace.gate_before, trace.gate_after)


def test_numbers_by_hand():
    """One channel, three tokens, two chunks: 0.4, 0.8 | 0.5 + 0.36, and backwards."""
    vim = make_vim(lim('gate', num_chunks=2, threshold=0.85))
    gate = find_membranes(vim)[0]
    current = torch.tensor([0.4, 0.8, 0.5])[None, :, None]
    call = GateCall(0, gate, current, None, None)
    trace = trace_layer(call)
    torch.testing.assert_close(trace.potential[0], torch.tensor([0.4, 0.8, 0.0]))
    # From the end: 0.5, 0.8 | 0.4 + 0.45 = 0.85, which is not above the threshold.
    torch.testing.assert_close(trace.potential[1], torch.tensor([0.5, 0.8, 0.85]))
    assert trace.reset.tolist() == [[0, 0, 1], [0, 0, 0]]
    numbers = summarise(call)
    potentials = [0.4, 0.8, 0, 0.5, 0.8, 0.85]
    gates = [p / (1 + math.exp(-p)) for p in potentials]
    assert numbers['membrane_potential'].item() == pytest.approx(sum(potentials) / 6)
    assert numbers['membrane_reset_share'].item() == pytest.approx(1 / 6)
    assert numbers['gate_sparsity'].item() == pytest.approx(sum(g < 0.05 for g in gates) / 6)


def test_hooks_are_removed_and_nothing_is_stored():
    vim = make_vim(*SITES['lora'])
    before = [set(vars(module)) for module in vim.modules()]
    calls = calls_of(vim, torch.randn(1, 3, 32, 32))
    assert len(calls) == 3
    vim(torch.randn(1, 3, 32, 32))
    assert len(calls) == 3
    assert [set(vars(module)) for module in vim.modules()] == before


@pytest.mark.parametrize(
    'adapters',
    [[], [LORA], [LORA, dict(type='RecurrentGate', cell='gru')]],
    ids=['plain', 'lora', 'gru'],
)
def test_models_without_a_membrane(adapters):
    vim = make_vim(*adapters)
    assert find_membranes(vim) == {}
    assert watch_gates(vim, print) == []
