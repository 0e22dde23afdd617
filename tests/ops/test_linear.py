"""The linear map: oneDNN against torch, and where it steps back."""

import pytest
import torch
import torch.nn.functional as F

from memba_vision.errors import UserError
from memba_vision.ops import linear
from memba_vision.ops.linear import onednn

SHAPES = [((5,), 4), ((3, 5), 4), ((2, 7, 24), 40), ((1, 1), 1), ((2, 3, 5, 17), 33)]


def make_inputs(shape, out_features, with_bias):
    generator = torch.Generator().manual_seed(out_features)
    shapes = [shape, (out_features, shape[-1])] + [(out_features,)] * with_bias
    return [torch.randn(s, generator=generator) for s in shapes]


def multiply_and_grads(inputs, backend):
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    out = linear(*inputs, backend=backend)
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out * weight).sum(), inputs)]


@pytest.mark.parametrize('with_bias', [False, True], ids=['no_bias', 'bias'])
@pytest.mark.parametrize(('shape', 'out_features'), SHAPES, ids=str)
def test_onednn_equals_torch(shape, out_features, with_bias):
    inputs = make_inputs(shape, out_features, with_bias)
    expected = multiply_and_grads([tensor.double() for tensor in inputs], 'torch')
    actual = multiply_and_grads(inputs, 'onednn')
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-5)


def test_strided_inputs():
    x, weight = make_inputs((2, 7, 24), 6, False)
    part = x[..., 4:20].transpose(0, 1)
    weight = weight[:, 4:20]
    torch.testing.assert_close(linear(part, weight, backend='onednn'), F.linear(part, weight))


def test_frozen_weights_get_no_gradient():
    x, weight = make_inputs((3, 5), 4, False)
    linear(x.requires_grad_(), weight, backend='onednn').sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, 5))


def test_other_tensors_are_left_to_torch():
    x, weight = make_inputs((3, 5), 4, False)
    assert linear(x.double(), weight.double()).dtype == torch.float64
    assert linear(x[:0], weight).shape == (0, 4)
    with torch.autocast('cpu', torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
    with pytest.raises(UserError, match="'onednn' cannot run here: it takes float32"):
        linear(x.double(), weight.double(), backend='onednn')


def test_this_build_has_it():
    # Or every test of it would have passed on torch's own.
    assert onednn.HAS_ONEDNN
