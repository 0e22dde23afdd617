"""The triton backend against the plain loop: on a GPU, or on the CPU by Triton's interpreter."""

import importlib

import pytest
import torch
from scan_cases import (
    NAMES,
    assert_close,
    every_other,
    make_inputs,
    scan_and_grads,
)
from torch.utils.checkpoint import checkpoint

from memba_vision.errors import UserError
from memba_vision.ops import selective_scan
from memba_vision.ops.selective_scan import BACKENDS
from memba_vision.ops.triton_kernels import presence

if presence.MISSING:
    pytest.skip(presence.MISSING, allow_module_level=True)

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
# batch, dim, length, state: below, at and beside the sizes of blocks, chunks and groups
SHAPES = [
    (1, 1, 1, 1),
    (2, 5, 2, 8),
    (1, 33, 3, 16),
    (1, 4, 33, 3),
    (1, 2, 5, 64),
]


def inputs_on_device(*shape, **options):
    return {name: tensor.to(DEVICE) for name, tensor in make_inputs(*shape, **options).items()}


def assert_exact(inputs, bound=1e-5, **options):
    """Compare with the plain loop in float64, value and gradients."""
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    assert_close(
        scan_and_grads(inputs, 'triton', **options),
        scan_and_grads(exact, 'naive', **options),
        bound,
    )


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_float32(shape, reverse):
    assert_exact(inputs_on_device(*shape), reverse=reverse)


def test_groups():
    inputs = inputs_on_device(2, 6, 5, 3)
    inputs['B'], inputs['C'] = (torch.randn(2, 2, 3, 5, device=DEVICE) for _ in 'BC')
    assert_exact(inputs, reverse=True)


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('grid', [(3, 2), (1, 6), (6, 1), (5, 7)], ids=str)
def test_down_the_columns(grid, reverse):
    inputs = inputs_on_device(1, 5, grid[0] * grid[1], 2)
    assert_exact(inputs, grid=grid, reverse=reverse)


@pytest.mark.slow
def test_length_of_vim():
    assert_exact(inputs_on_device(1, 3, 197, 16, channel_last=True), reverse=True)


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == 'cpu', reason='needs a GPU: takes minutes on the CPU')
@pytest.mark.parametrize('shape', [(2, 70, 3137, 16), (3, 768, 197, 16), (2, 100, 500, 64)])
@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_large(shape, reverse):
    assert_exact(inputs_on_device(*shape, channel_last=True), reverse=reverse)


@pytest.mark.parametrize('softplus', [False, True], ids=['plain', 'softplus'])
@pytest.mark.parametrize('absent', [('D',), ('z',), ('delta_bias',), ('D', 'z', 'delta_bias')])
def test_optional_inputs(absent, softplus):
    inputs = inputs_on_device(1, 3, 5, 4)
    inputs['delta'] = inputs['delta'].abs() / 4
    inputs = {name: tensor for name, tensor in inputs.items() if name not in absent}
    assert_exact(inputs, softplus=softplus)


@pytest.mark.parametrize('make', [every_other, None], ids=['every_other', 'channel_last'])
def test_strided_inputs(make):
    inputs = inputs_on_device(2, 6, 7, 4, channel_last=make is None)
    inputs = make(inputs) if make else inputs
    assert not inputs['u'].is_contiguous()
    assert_exact(inputs)


@pytest.mark.parametrize(
    ('decay', 'step'), [(-1e4, 0.0), (-1e4, 50.0), (-1.0, 50.0), (-1e-4, -30.0), (0.0, 5.0)]
)
def test_extremes(decay, step):
    inputs = inputs_on_device(1, 4, 9, 8)
    inputs['A'] = torch.full_like(inputs['A'], decay)
    inputs['delta'] = inputs['delta'] + step
    assert_exact(inputs)


@pytest.mark.parametrize(('name', 'index'), [('u', (0, 1, 3)), ('delta', (0, 1, 3)), ('A', (1, 0))])
def test_nan_is_not_hidden(name, index):
    inputs = inputs_on_device(1, 4, 6, 2)
    inputs[name][index] = float('nan')
    out = selective_scan(**inputs, delta_softplus=True, backend='triton')
    expected = selective_scan(**inputs, delta_softplus=True, backend='naive')
    assert torch.equal(out.isnan(), expected.isnan())


@pytest.mark.parametrize(
    'frozen', [('A', 'D', 'delta_bias'), ('u', 'B'), ('delta', 'C', 'z'), NAMES[1:]], ids='-'.join
)
def test_frozen_inputs(frozen):
    assert_exact(inputs_on_device(2, 5, 6, 4), frozen=frozen)


@pytest.mark.parametrize('needed', [False, True], ids=['frozen', 'trained'])
def test_gradients_of_frozen_weights_are_not_computed(needed):
    inputs = list(inputs_on_device(1, 3, 5, 2).values())
    tensors = [inputs[0], [inputs[1]], *inputs[2:6], inputs[7]]
    out, states = torch.ops.memba_vision.selective_scan_triton(*tensors, True, [0], [1], True)
    backward = torch.ops.memba_vision.selective_scan_triton_backward
    grads = backward(torch.ones_like(out), states, *tensors, True, [0], [1], [needed] * 3)
    assert [grad.numel() > 0 for grad in grads] == [True, True, needed, True, True, needed, needed]


def test_states_are_kept_for_the_backward_pass_alone():
    u, delta, *others = list(inputs_on_device(2, 3, 70, 4).values())[:5]
    scan = torch.ops.memba_vision.selective_scan_triton
    kept = [
        scan(u, [delta], *others, None, None, True, [0], [1], keep)[1].numel()
        for keep in (False, True)
    ]
    assert kept == [0, 2 * 3 * 4 * 3]  # every 32 positions


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_scanned_in_float32(dtype):
    inputs = {name: tensor.to(dtype) for name, tensor in inputs_on_device(1, 6, 20, 4).items()}
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    actual = scan_and_grads(inputs, 'triton')
    assert all(tensor.dtype == dtype for tensor in actual.values())
    # Half a unit in the last place: the rounding of the results and nothing else.
    expected = scan_and_grads(exact, 'naive', grad_dtype=dtype)
    assert_close(actual, expected, torch.finfo(dtype).eps / 2 * 1.01)


def test_mixed_dtypes():
    """As under autocast: the step size and the weights stay in float32."""
    inputs = inputs_on_device(1, 6, 9, 4, channel_last=True)
    del inputs['z']
    inputs.update({name: inputs[name].bfloat16() for name in ('u', 'B', 'C')})
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    actual = scan_and_grads(inputs, 'triton')
    assert all(actual[name].dtype == tensor.dtype for name, tensor in inputs.items())
    expected = scan_and_grads(exact, 'naive', grad_dtype=torch.bfloat16)
    # A unit in the last place, not half of one: Triton's interpreter cuts off what a GPU rounds.
    assert_close(actual, expected, torch.finfo(torch.bfloat16).eps * 1.01)


def test_twice_the_same():
    inputs = inputs_on_device(2, 40, 6, 16)
    first, second = (scan_and_grads(inputs, 'triton') for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_keeps_the_layout_of_u():
    inputs = inputs_on_device(2, 6, 5, 4, channel_last=True)
    del inputs['z']
    out = selective_scan(**inputs, delta_softplus=True, backend='triton')
    assert out.stride() == inputs['u'].stride()


def test_compiled_equals_eager():
    inputs = inputs_on_device(1, 6, 5, 4, channel_last=True)

    def scan(**tensors):
        return selective_scan(**tensors, delta_softplus=True, backend='triton') * 2

    results = []
    for function in (scan, torch.compile(scan, fullgraph=True, backend='aot_eager')):
        tensors = {k: v.detach().requires_grad_(k != 'A') for k, v in inputs.items()}
        out = function(**tensors)
        out.square().sum().backward()
        results.append([out, *(t.grad for t in tensors.values() if t.requires_grad)])
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize('channel_last', [False, True])
def test_ops_agree_with_their_declarations(channel_last):
    inputs = inputs_on_device(2, 6, 5, 4, channel_last=channel_last)
    del inputs['z']
    u, delta, *others = (t.requires_grad_(name != 'A') for name, t in inputs.items())
    tensors = u, [delta], *others
    torch.library.opcheck(
        torch.ops.memba_vision.selective_scan_triton.default,
        (*tensors, True, [0], [1], True),
        test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'),
    )
    tensors = u.detach(), [delta.detach()], *(tensor.detach() for tensor in others)
    out, states = torch.ops.memba_vision.selective_scan_triton(*tensors, True, [0], [1], True)
    torch.library.opcheck(
        torch.ops.memba_vision.selective_scan_triton_backward.default,
        (torch.ones_like(out), states, *tensors, True, [0], [1], [True] * 3),
        test_utils=('test_schema', 'test_faketensor'),
    )


def test_activation_checkpointing():
    inputs = inputs_on_device(1, 6, 5, 4)
    plain = scan_and_grads(inputs, 'triton')
    tensors = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    out = checkpoint(
        lambda: selective_scan(**tensors, delta_softplus=True, backend='triton'),
        use_reentrant=False,
    )
    out.backward(torch.linspace(-1, 1, out.numel(), device=DEVICE).reshape(out.shape))
    assert all(torch.equal(tensor.grad, plain[name]) for name, tensor in tensors.items())


def test_says_what_is_in_its_way(monkeypatch):
    with pytest.raises(
        UserError, match='float32, bfloat16, float16, and one of the tensors is float64'
    ):
        BACKENDS.select('triton', torch.zeros(1, dtype=torch.float64, device=DEVICE))
    monkeypatch.setattr(presence, 'INTERPRETED', False)
    with pytest.raises(UserError, match='needs tensors on a CUDA device, these are on cpu'):
        BACKENDS.select('triton', torch.zeros(1))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert 'triton is not installed' in presence._missing()


def test_says_which_triton_it_needs(monkeypatch):
    monkeypatch.setattr(importlib.metadata, 'version', lambda name: '3.2.0')
    assert 'need Triton 3.3 (torch 2.7) or newer, this is Triton 3.2.0' in presence._missing()


@pytest.mark.skipif(DEVICE == 'cuda', reason='on a GPU nothing is interpreted')
def test_interpreted_kernels_are_never_taken_unasked():
    names = BACKENDS.names()
    assert names.index('torch') < names.index('triton') < names.index('naive')
