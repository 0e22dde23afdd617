"""The linear map: oneDNN against torch, and where it steps back."""

import pytest
import torch
import torch.nn.functional as F
from op_cases import outputs_and_grads

from memba_vision.errors import UserError
from memba_vision.ops import linear, linear_each
from memba_vision.ops.linear import onednn
from memba_vision.ops.linear.onednn import HAS_BFLOAT16

SHAPES = [((5,), 4), ((3, 5), 4), ((2, 7, 24), 40), ((1, 1), 1), ((2, 3, 5, 17), 33)]


def make_inputs(shape, out_features, with_bias):
    generator = torch.Generator().manual_seed(out_features)
    shapes = [shape, (out_features, shape[-1])] + [(out_features,)] * with_bias
    return [torch.randn(s, generator=generator) for s in shapes]


@pytest.mark.parametrize('with_bias', [False, True], ids=['no_bias', 'bias'])
@pytest.mark.parametrize(('shape', 'out_features'), SHAPES, ids=str)
def test_onednn_equals_torch(shape, out_features, with_bias):
    inputs = make_inputs(shape, out_features, with_bias)
    expected = outputs_and_grads(linear, [t.double() for t in inputs], backend='torch')
    actual = outputs_and_grads(linear, inputs, backend='onednn')
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    'dtype',
    [
        torch.float32,
        pytest.param(
            torch.bfloat16,
            marks=pytest.mark.skipif(not HAS_BFLOAT16, reason='needs a CPU with AVX-512'),
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize(('shape', 'out_features'), SHAPES, ids=str)
def test_what_is_added_within_the_product(shape, out_features, dtype):
    inputs = [*make_inputs(shape, out_features, True), torch.randn(*shape[:-1], out_features)]

    def add(x, weight, bias, added, backend):
        return linear(x, weight, bias, added=added, backend=backend)

    expected = outputs_and_grads(add, [t.to(dtype).double() for t in inputs], backend='torch')
    actual = outputs_and_grads(add, [t.to(dtype) for t in inputs], backend='onednn')
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('trained', [(0,), (0, 2), (1, 3), (0, 1, 2, 3)], ids=str)
def test_several_products_of_one_input(trained):
    def run(backend):
        torch.manual_seed(0)
        tensors = [torch.randn(2, 7, 24), *(torch.randn(n, 24) for n in (40, 3, 1))]
        for number in trained:
            tensors[number].requires_grad_()
        outs = linear_each(*tensors, backend=backend)
        # The last product is used by nobody.
        sum(out.sin().sum() for out in outs[:2]).backward()
        return [*outs, *(tensor.grad for tensor in tensors)]

    for value, reference in zip(run('onednn'), run('torch'), strict=True):
        reference = None if value is None and reference is None else reference
        if reference is None or value is None:
            # torch gives zeros to the weight of an unused product, oneDNN nothing.
            assert value is None and (reference is None or not reference.any())
        else:
            torch.testing.assert_close(value, reference, rtol=1e-5, atol=1e-5)


def test_an_added_tensor_of_another_shape_is_an_error():
    x, weight = make_inputs((2, 3, 5), 4, False)
    with pytest.raises(UserError, match=r'added must be \(2, 3, 4\)'):
        linear(x, weight, added=torch.zeros(3, 4))


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


def second_derivatives(inputs, backend):
    """Gradients, and those of their squares."""
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    out = linear(*inputs, backend=backend).sin()
    grads = torch.autograd.grad(out.pow(3).sum(), inputs, create_graph=True)
    return [*grads, *torch.autograd.grad(sum(g.square().sum() for g in grads), inputs)]


@pytest.mark.parametrize('with_bias', [False, True], ids=['no_bias', 'bias'])
@pytest.mark.parametrize(('shape', 'out_features'), SHAPES, ids=str)
def test_second_derivatives(shape, out_features, with_bias):
    inputs = make_inputs(shape, out_features, with_bias)
    expected = second_derivatives([tensor.double() for tensor in inputs], 'torch')
    for value, reference in zip(second_derivatives(inputs, 'onednn'), expected, strict=True):
        scale = reference.abs().max().item()
        torch.testing.assert_close(value.double(), reference, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize('trained', [0, 1, 2], ids=['x', 'weight', 'bias'])
def test_second_derivatives_where_one_tensor_trains(trained):
    def penalty(tensors, multiply):
        tensors = [tensor.clone() for tensor in tensors]
        tensors[trained].requires_grad_()
        out = multiply(*tensors).exp().sum()
        (grad,) = torch.autograd.grad(out, tensors[trained], create_graph=True)
        return torch.autograd.grad(grad.square().sum(), tensors[trained])[0]

    inputs = make_inputs((2, 3, 5), 4, True)
    onednn_backend = lambda *tensors: linear(*tensors, backend='onednn')  # noqa: E731
    torch.testing.assert_close(
        penalty(inputs, onednn_backend), penalty(inputs, F.linear), rtol=1e-4, atol=1e-4
    )


TRANSFORMS = {
    'grad': lambda f, x, w, b: torch.func.grad(f, (0, 1, 2))(x, w, b),
    'vmap': lambda f, x, w, b: torch.vmap(f, (0, None, None))(x, w, b),
    'vmap_of_weights': lambda f, x, w, b: torch.vmap(f, (None, 0, 0))(
        x, torch.stack([w, 2 * w]), torch.stack([b, b + 1])
    ),
    'gradients_per_sample': lambda f, x, w, b: torch.vmap(torch.func.grad(f, 1), (0, None, None))(
        x, w, b
    ),
    'jvp': lambda f, x, w, b: torch.func.jvp(f, (x, w, b), (x + 1, w + 1, b + 1)),
    'hessian': lambda f, x, w, b: torch.func.hessian(f, (0, 1))(x, w, b),
    'forward_twice': lambda f, x, w, b: torch.func.jacfwd(torch.func.jacfwd(f, 1), 1)(x, w, b),
    'third': lambda f, x, w, b: torch.func.jacrev(torch.func.hessian(f, 2), 2)(x, w, b),
    'autograd_functional': lambda f, x, w, b: torch.autograd.functional.hessian(f, (x, w, b)),
}


@pytest.mark.filterwarnings('ignore:`torch.jit.script` is deprecated')  # torch's own forward mode
@pytest.mark.parametrize('transform', TRANSFORMS.values(), ids=TRANSFORMS)
def test_transforms_of_torch(transform):
    def network(multiply):
        return lambda x, w, b: multiply(multiply(x, w, b).sin(), w.t()).pow(2).sum()

    inputs = make_inputs((2, 3, 5), 4, True)
    actual, expected = (transform(network(multiply), *inputs) for multiply in (linear, F.linear))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('shape', [(5,), (3, 5), (2, 3, 5)], ids=str)
def test_the_output_may_be_changed_in_place(shape):
    x, weight, bias = make_inputs(shape, 4, True)
    out = linear(x, weight.requires_grad_(), bias, backend='onednn')
    out += 1
    out[..., :2].mul_(3)
    out.view(-1).add_(1)
    out.sum().backward()
    expected = torch.tensor([3.0, 3, 1, 1])[:, None] * x.reshape(-1, 5).sum(0)
    torch.testing.assert_close(weight.grad, expected)
    with torch.no_grad():
        out = linear(x, weight, bias, backend='onednn')
    out += bias.requires_grad_()
    assert out.requires_grad


WRONG = {
    'narrow': ([(2, 3, 5), (4, 3), (4,)], r'\(2, 3, 5\), \(4, 3\), \(4,\)'),
    'wide': ([(2, 3, 5), (4, 6)], r'\(2, 3, 5\), \(4, 6\)'),
    'short_bias': ([(3, 5), (4, 5), (3,)], r'\(3, 5\), \(4, 5\), \(3,\)'),
    'long_bias': ([(3, 5), (4, 5), (9,)], r'\(9,\)'),
    'bias_of_two_axes': ([(3, 5), (4, 5), (1, 4)], r'\(1, 4\)'),
    'number': ([(), (4, 5)], r'\(\), \(4, 5\)'),
    'vector': ([(3, 5), (5,)], r'\(3, 5\), \(5,\)'),
    'many_matrices': ([(3, 5), (2, 4, 5)], r'\(2, 4, 5\)'),
}


@pytest.mark.parametrize('backend', ['auto', 'onednn', 'torch'])
@pytest.mark.parametrize(('shapes', 'found'), WRONG.values(), ids=WRONG)
def test_shapes_that_disagree(shapes, found, backend):
    with pytest.raises(UserError, match=rf'\(out_features,\); their shapes are .*{found}$'):
        linear(*map(torch.zeros, shapes), backend=backend)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_dtypes_that_disagree(dtype):
    x, weight, bias = make_inputs((3, 5), 4, True)
    for tensors in ((x, weight.to(dtype), bias), (x, weight, bias.to(dtype))):
        with pytest.raises(UserError, match=f'x is torch.float32 on cpu and its .* are {dtype} on'):
            linear(*tensors)
    with torch.autocast('cpu', torch.bfloat16):
        assert linear(x, weight.bfloat16(), bias).dtype == torch.bfloat16


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize('shapes', [[(0, 5), (4, 5)], [(3, 5), (0, 5)], [(3, 0), (4, 0)]], ids=str)
def test_empty_tensors(shapes, dtype):
    x, weight = (torch.zeros(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    out = linear(x, weight)
    assert out.shape == (len(x), len(weight))
    assert out.dtype == dtype
    out.sum().backward()
    assert x.grad.shape == x.shape
    assert not weight.grad.any()
