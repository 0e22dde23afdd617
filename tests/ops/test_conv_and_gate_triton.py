"""The convolution, the gate and both membranes by Triton: on a GPU, or by its interpreter."""

import pytest
import torch
from op_cases import outputs_and_grads

from memba_vision.ops import bidirectional_membrane, causal_conv1d, gated_merge
from memba_vision.ops.triton_kernels import presence

if presence.MISSING:
    pytest.skip(presence.MISSING, allow_module_level=True)

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
CLOSE = dict(rtol=1e-5, atol=1e-5)


def make(*shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(len(shapes))
    return [torch.randn(shape, generator=generator).to(DEVICE, dtype) for shape in shapes]


def convolve(*tensors, backend, reverse=False, silu=True):
    return causal_conv1d(*tensors, silu=silu, reverse=reverse, backend=backend)


def integrate(*tensors, backend, num_chunks=4):
    settings = dict(num_chunks=num_chunks, leak=0.8, threshold=0.4)
    return bidirectional_membrane(*tensors, **settings, backend=backend)


def agree(function, inputs, reference='torch', **options):
    results = [
        outputs_and_grads(function, inputs, backend=backend, **options)
        for backend in ('triton', reference)
    ]
    torch.testing.assert_close(*results, **CLOSE)


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize(('silu', 'with_bias'), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(('length', 'width', 'dim'), [(1, 1, 5), (2, 4, 35), (9, 3, 130)])
def test_convolution(length, width, dim, silu, with_bias, reverse):
    inputs = make((1, dim, length), (dim, width), (dim,))[: 3 if with_bias else 2]
    agree(convolve, inputs, 'naive', silu=silu, reverse=reverse)


@pytest.mark.parametrize('updated', [False, True], ids=['shared', 'separate'])
@pytest.mark.parametrize('shape', [(1, 1, 5), (1, 7, 130), (3, 5, 33)], ids=str)
def test_gate(shape, updated):
    agree(gated_merge, make(shape, shape, shape, *([(2, *shape)] if updated else [])))


@pytest.mark.parametrize('carried', [False, True], ids=['from_zero', 'carried'])
@pytest.mark.parametrize(
    ('batch', 'length', 'dim', 'num_chunks'),
    [(1, 1, 32, 4), (2, 7, 33, 3), (1, 13, 70, 4), (2, 3, 40, 5), (1, 36, 8, 34)],
)
def test_membranes(batch, length, dim, num_chunks, carried):
    current, initial = make((batch, length, dim), (2 * batch, dim, -(-length // num_chunks)))
    inputs = current, initial if carried else None
    agree(integrate, inputs, num_chunks=num_chunks)


def test_parts_of_a_projection():
    (projected,) = make((2, 9, 80))
    x, gate = projected.chunk(2, dim=-1)
    weight, bias, first, second = make((40, 4), (40,), (2, 40, 9), (2, 9, 40))
    agree(convolve, [x.mT, weight, bias], 'naive')
    agree(gated_merge, [first.mT, second, gate])
    agree(integrate, [gate[:, 1:], None])


def test_frozen_filters_take_no_gradient():
    x, weight, bias = make((2, 40, 9), (40, 4), (40,))
    x.requires_grad_()
    grads = [
        torch.autograd.grad(convolve(x, weight, bias, backend=backend).square().sum(), x)
        for backend in ('triton', 'naive')
    ]
    torch.testing.assert_close(*grads, **CLOSE)


CALLS = {
    'convolution': (convolve, [(2, 40, 9)], [(40, 4), (40,)]),
    'gate': (gated_merge, [(2, 9, 40)] * 3, []),
    'gates': (gated_merge, [(2, 9, 40)] * 3 + [(2, 2, 9, 40)], []),
    'membranes': (integrate, [(2, 9, 40)], [(4, 40, 3)]),
}


@pytest.mark.parametrize('call', CALLS.values(), ids=CALLS)
def test_bfloat16_is_computed_in_float32(call):
    function, sequences, others = call
    sequences, others = make(*sequences, dtype=torch.bfloat16), make(*others)
    inputs = [*sequences, *others]
    actual = outputs_and_grads(function, inputs, backend='triton')
    expected = outputs_and_grads(function, [t.float() for t in inputs], backend='torch')
    assert [value.dtype for value in actual[-len(inputs) :]] == [t.dtype for t in inputs]
    assert actual[0].dtype == torch.bfloat16
    for value, exact in zip(actual, expected, strict=True):
        bound = 2 * torch.finfo(torch.bfloat16).eps * exact.abs().max()
        assert (value.float() - exact).abs().max() <= bound


def test_scans_of_other_dtypes():
    scans = make((2, 9, 40), (2, 9, 40))
    (gate,) = make((2, 9, 40), dtype=torch.bfloat16)
    results = [
        gated_merge(scans[0].bfloat16(), scans[1], gate, backend=b) for b in ('triton', 'torch')
    ]
    torch.testing.assert_close(*results, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize('call', CALLS.values(), ids=CALLS)
def test_compiled_equals_eager(call):
    function, sequences, others = call
    inputs = make(*sequences, *others)
    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    results = [outputs_and_grads(f, inputs, backend='triton') for f in (function, compiled)]
    assert all(map(torch.equal, *results))
