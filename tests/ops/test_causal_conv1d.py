"""The causal convolution: by hand, both directions, and the fast version against the loop."""

import pytest
import torch

from memba_vision.ops import causal_conv1d
from memba_vision.ops.causal_conv1d import cuda_package
from memba_vision.ops.causal_conv1d.naive import causal_conv1d_naive

BACKENDS = ['naive', 'torch']


def make_inputs(length, width, dtype=torch.float64, batch=2, dim=3):
    generator = torch.Generator().manual_seed(length)
    shapes = (batch, dim, length), (dim, width), (dim,)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def convolve_and_grads(inputs, **options):
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    out = causal_conv1d(*inputs, **options)
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out * weight).sum(), inputs)]


@pytest.mark.parametrize('backend', BACKENDS)
def test_by_hand(backend):
    x = torch.tensor([[[1.0, 2.0, 4.0]]])
    weight, bias = torch.tensor([[10.0, 1.0]]), torch.tensor([0.5])
    out = causal_conv1d(x, weight, bias, backend=backend)
    assert out.tolist() == [[[1.5, 12.5, 24.5]]]
    out = causal_conv1d(x, weight, bias, reverse=True, backend=backend)
    assert out.tolist() == [[[21.5, 42.5, 4.5]]]


@pytest.mark.parametrize('with_bias', [False, True], ids=['no_bias', 'bias'])
@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('width', [1, 2, 4])
@pytest.mark.parametrize('length', [1, 2, 3, 17])
def test_equals_the_plain_loop(length, width, reverse, with_bias):
    inputs = make_inputs(length, width)[: 3 if with_bias else 2]
    expected = convolve_and_grads(inputs, reverse=reverse, backend='naive')
    actual = convolve_and_grads(inputs, reverse=reverse, backend='torch')
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('length', [2, 9])
def test_reverse_is_the_flipped_convolution_of_the_flipped_sequence(length, backend):
    x, weight, bias = make_inputs(length, 4)
    expected = causal_conv1d(x.flip(-1), weight, bias, backend=backend).flip(-1)
    actual = causal_conv1d(x, weight, bias, reverse=True, backend=backend)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('position', [0, 3, 8])
def test_looks_one_way_only(position, reverse):
    x, weight, bias = make_inputs(9, 4)
    changed = x.clone()
    changed[:, :, position] += 1
    difference = [causal_conv1d(t, weight, bias, reverse=reverse) for t in (x, changed)]
    touched = (difference[0] != difference[1]).any(0).any(0).nonzero().flatten().tolist()
    seen = range(position - 3, position + 1) if reverse else range(position, position + 4)
    assert touched == [t for t in seen if 0 <= t < 9]


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_gradcheck(reverse):
    inputs = [tensor.requires_grad_() for tensor in make_inputs(5, 4)]
    assert torch.autograd.gradcheck(lambda *t: causal_conv1d(*t, reverse=reverse), inputs)


def test_float32():
    inputs = make_inputs(197, 4, torch.float32)
    expected = convolve_and_grads([tensor.double() for tensor in inputs], backend='naive')
    actual = [tensor.double() for tensor in convolve_and_grads(inputs, backend='torch')]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
def test_bfloat16_in_bfloat16_out(backend):
    inputs = make_inputs(9, 4, torch.bfloat16)
    out = causal_conv1d(*inputs, backend=backend)
    assert out.dtype == torch.bfloat16
    expected = causal_conv1d(*(tensor.double() for tensor in inputs), backend='naive')
    torch.testing.assert_close(out.double(), expected, rtol=0.02, atol=0.02)


def test_a_transposed_sequence():
    x, weight, bias = make_inputs(9, 4)
    transposed = x.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(
        causal_conv1d(transposed, weight, bias), causal_conv1d(x, weight, bias)
    )


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_compiled_equals_eager(reverse):
    inputs = make_inputs(9, 4, torch.float32)
    results = []

    def convolve(*tensors):
        return causal_conv1d(*tensors, reverse=reverse, backend='torch') * 2

    for function in (convolve, torch.compile(convolve, fullgraph=True, backend='aot_eager')):
        tensors = [tensor.detach().requires_grad_() for tensor in inputs]
        out = function(*tensors)
        results.append([out, *torch.autograd.grad(out.square().sum(), tensors)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_the_package_is_asked_for_one_direction(reverse, monkeypatch):
    def forwards_only(x, weight, bias=None):
        return causal_conv1d_naive(x, weight, bias, reverse=False)

    monkeypatch.setattr(cuda_package, '_kernel_function', lambda: forwards_only)
    inputs = make_inputs(9, 4)
    actual = cuda_package.causal_conv1d_package(*inputs, reverse)
    torch.testing.assert_close(actual, causal_conv1d(*inputs, reverse=reverse, backend='naive'))
