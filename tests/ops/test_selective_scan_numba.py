"""The numba backend against the plain loop, on odd shapes and hard numbers."""

import itertools

import pytest
import torch
from scan_cases import (
    NAMES,
    assert_close,
    assert_like_naive,
    every_other,
    make_inputs,
    scan_and_grads,
)
from torch.utils.checkpoint import checkpoint

from memba_vision.ops import selective_scan
from memba_vision.ops.selective_scan import BACKENDS

pytest.importorskip('numba')

# batch, dim, length, state: below, at and beside the sizes of blocks and tiles
SHAPES = [
    (1, 1, 1, 1),
    (2, 5, 2, 8),
    (1, 64, 16, 16),
    (2, 70, 17, 16),
    (2, 130, 33, 1),
    (1, 3, 197, 64),
    (2, 4, 197, 16),
    (1, 2, 3137, 2),
]


def test_is_preferred_on_a_cpu():
    assert BACKENDS.select(None, torch.zeros(1)).name == 'numba'


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_float64(shape, reverse):
    assert_like_naive('numba', make_inputs(*shape, dtype=torch.float64), 1e-10, reverse=reverse)


@pytest.mark.parametrize('channel_last', [False, True])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_float32(shape, channel_last):
    expected = scan_and_grads(make_inputs(*shape, torch.float32, channel_last), 'numba')
    exact = {k: v.double() for k, v in make_inputs(*shape, torch.float32, channel_last).items()}
    assert_close(expected, scan_and_grads(exact, 'naive'), 1e-5)


@pytest.mark.parametrize('softplus', [False, True])
@pytest.mark.parametrize('count', range(4))
def test_optional_inputs(count, softplus):
    inputs = make_inputs(2, 7, 9, 4, torch.float64)
    inputs['delta'] = inputs['delta'].abs() / 4
    for absent in itertools.combinations(('D', 'z', 'delta_bias'), count):
        present = {name: tensor for name, tensor in inputs.items() if name not in absent}
        assert_like_naive('numba', present, 1e-10, softplus=softplus)


def test_strided_inputs():
    inputs = every_other(make_inputs(2, 12, 20, 8, torch.float64))
    assert not inputs['u'].is_contiguous()
    assert_like_naive('numba', inputs, 1e-10)


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('one', ['position', 'channel'])
def test_one_position_or_channel_of_many(one, reverse):
    """Such a view is laid out in neither way, and a result of its shape in both."""
    inputs = make_inputs(2, 40, 7, 4, torch.float64)
    if one == 'position':
        inputs = {n: t[:, :, 3:4] if t.ndim == 3 else t for n, t in inputs.items()}
    else:
        per_channel = {n: t[:, :1] for n, t in inputs.items() if n in ('u', 'delta', 'z')}
        inputs |= per_channel | {n: inputs[n][:1] for n in ('A', 'D', 'delta_bias')}
    assert_like_naive('numba', inputs, 1e-10, reverse=reverse)


@pytest.mark.parametrize('needs', [False, True])
@pytest.mark.parametrize('state', [4, 6])
def test_the_backward_pass_is_laid_out_as_declared(state, needs):
    inputs = make_inputs(2, 5, 20, state, torch.float64)
    u, delta, A, B, C, D, bias = (
        inputs[n] for n in ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')
    )
    ops = torch.ops.memba_vision
    _, states = ops.selective_scan_numba(u, [delta], A, B, C, D, bias, True, [0], [1], True)
    torch.library.opcheck(
        ops.selective_scan_numba_backward.default,
        (u, states, u, [delta], A, B, C, D, bias, True, [0], [1], [needs] * 3),
        test_utils=('test_schema', 'test_faketensor'),
    )


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ('decay', 'step'), [(-1e4, 0.0), (-1e4, 50.0), (-1.0, 50.0), (-1e-4, -30.0), (0.0, 5.0)]
)
def test_extremes(decay, step, dtype):
    inputs = make_inputs(2, 40, 37, 8, dtype)
    inputs['A'] = torch.full_like(inputs['A'], decay)
    inputs['delta'] = inputs['delta'] + step
    assert_like_naive('numba', inputs, 1e-5 if dtype is torch.float32 else 1e-10)


def test_growth_to_the_end_of_the_range_is_no_nan():
    inputs = make_inputs(1, 4, 2, 2)
    inputs['A'] = inputs['A'].abs() * 1e6
    assert not selective_scan(**inputs, delta_softplus=True, backend='numba').isnan().any()


@pytest.mark.parametrize(('name', 'index'), [('u', (0, 1, 3)), ('delta', (0, 1, 3)), ('A', (1, 0))])
def test_nan_is_not_hidden(name, index):
    inputs = make_inputs(1, 4, 9, 2)
    inputs[name][index] = float('nan')
    out = selective_scan(**inputs, delta_softplus=True, backend='numba')
    assert torch.equal(
        out.isnan(), selective_scan(**inputs, delta_softplus=True, backend='naive').isnan()
    )


@pytest.mark.parametrize('reverse', [False, True])
def test_gradcheck(reverse):
    inputs = make_inputs(2, 3, 5, 2, torch.float64)
    tensors = [tensor.requires_grad_() for tensor in inputs.values()]
    assert torch.autograd.gradcheck(
        lambda *x: selective_scan(*x, True, reverse=reverse, backend='numba'), tensors
    )


@pytest.mark.parametrize(
    'frozen', [('A', 'D', 'delta_bias'), ('u', 'B'), ('delta', 'C', 'z'), NAMES[1:]], ids=str
)
def test_frozen_inputs(frozen):
    assert_like_naive('numba', make_inputs(2, 5, 18, 4, torch.float64), 1e-10, frozen=frozen)


def test_threads_leave_no_trace():
    inputs = make_inputs(3, 200, 50, 16)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(scan_and_grads(inputs, 'numba'))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in results[0])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_scanned_in_float32(dtype):
    inputs = {name: tensor.to(dtype) for name, tensor in make_inputs(2, 6, 30, 4).items()}
    actual = selective_scan(**inputs, delta_softplus=True, backend='numba')
    expected = selective_scan(**inputs, delta_softplus=True, backend='naive')
    assert actual.dtype == dtype
    torch.testing.assert_close(actual, expected, rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_keeps_the_layout_of_u():
    inputs = make_inputs(2, 6, 5, 4, channel_last=True)
    del inputs['z']
    out = selective_scan(**inputs, delta_softplus=True, backend='numba')
    assert out.stride() == inputs['u'].stride()


@pytest.mark.parametrize('channel_last', [False, True])
def test_compiled_equals_eager(channel_last):
    inputs = make_inputs(2, 6, 20, 4, channel_last=channel_last)

    def scan(**tensors):
        return selective_scan(**tensors, delta_softplus=True, backend='numba') * 2

    results = []
    for function in (scan, torch.compile(scan, fullgraph=True, backend='aot_eager')):
        tensors = {k: v.detach().requires_grad_(k != 'A') for k, v in inputs.items()}
        out = function(**tensors)
        out.square().sum().backward()
        results.append([out, *(t.grad for t in tensors.values() if t.requires_grad)])
    # Some versions of torch take silu apart when they compile, which moves the last bits.
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_ops_agree_with_their_declarations():
    inputs = make_inputs(2, 6, 20, 4, channel_last=True)
    del inputs['z']
    u, delta, *others = (t.requires_grad_(name != 'A') for name, t in inputs.items())
    tensors = u, [delta], *others
    torch.library.opcheck(
        torch.ops.memba_vision.selective_scan_numba.default,
        (*tensors, True, [0], [1], True),
        test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'),
    )


def test_activation_checkpointing():
    inputs = make_inputs(2, 6, 20, 4)
    plain = scan_and_grads(inputs, 'numba')
    tensors = {name: tensor.detach().requires_grad_() for name, tensor in inputs.items()}
    out = checkpoint(
        lambda: selective_scan(**tensors, delta_softplus=True, backend='numba'), use_reentrant=False
    )
    out.backward(torch.linspace(-1, 1, out.numel()).reshape(out.shape))
    assert all(torch.equal(tensor.grad, plain[name]) for name, tensor in tensors.items())
