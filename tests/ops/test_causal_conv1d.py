"""The causal convolution: by hand, both directions, and the fast version against the loop."""

from dataclasses import replace

import pytest
import torch
from op_cases import outputs_and_grads

from memba_vision.errors import UserError
from memba_vision.ops import causal_conv1d
from memba_vision.ops.causal_conv1d import BACKENDS as TABLE
from memba_vision.ops.causal_conv1d import cuda_package

FAST_BACKENDS = ['torch', 'numba']
BACKENDS = ['naive', *FAST_BACKENDS]


def make_inputs(length, width, dtype=torch.float64, batch=2, dim=35):
    generator = torch.Generator().manual_seed(length)
    shapes = (batch, dim, length), (dim, width), (dim,)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


@pytest.mark.parametrize('backend', BACKENDS)
def test_by_hand(backend):
    x = torch.tensor([[[1.0, 2.0, 4.0]] * 32])
    weight, bias = torch.tensor([[10.0, 1.0]] * 32), torch.tensor([0.5] * 32)
    out = causal_conv1d(x, weight, bias, backend=backend)
    assert out.tolist() == [[[1.5, 12.5, 24.5]] * 32]
    out = causal_conv1d(x, weight, bias, reverse=True, backend=backend)
    assert out.tolist() == [[[21.5, 42.5, 4.5]] * 32]


@pytest.mark.parametrize('with_bias', [False, True], ids=['no_bias', 'bias'])
@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('width', [1, 2, 4])
@pytest.mark.parametrize('length', [1, 2, 3, 17])
@pytest.mark.parametrize('silu', [False, True], ids=['linear', 'silu'])
@pytest.mark.parametrize('backend', FAST_BACKENDS)
def test_equals_the_plain_loop(backend, silu, length, width, reverse, with_bias):
    inputs = make_inputs(length, width)[: 3 if with_bias else 2]
    expected = outputs_and_grads(causal_conv1d, inputs, silu=silu, reverse=reverse, backend='naive')
    actual = outputs_and_grads(causal_conv1d, inputs, silu=silu, reverse=reverse, backend=backend)
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
@pytest.mark.parametrize('backend', FAST_BACKENDS)
def test_gradcheck(backend, reverse):
    inputs = [tensor.requires_grad_() for tensor in make_inputs(5, 4)]
    options = dict(silu=True, reverse=reverse, backend=backend)
    assert torch.autograd.gradcheck(lambda *t: causal_conv1d(*t, **options), inputs)


@pytest.mark.parametrize('backend', FAST_BACKENDS)
def test_float32(backend):
    inputs = make_inputs(197, 4, torch.float32)
    expected = outputs_and_grads(
        causal_conv1d, [t.double() for t in inputs], silu=True, backend='naive'
    )
    actual = outputs_and_grads(causal_conv1d, inputs, silu=True, backend=backend)
    for value, reference in zip(actual, expected, strict=True):
        bound = 1e-5 * reference.abs().max().item()
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=bound)


def test_few_channels_are_left_to_torch():
    inputs = make_inputs(9, 4, dim=5)
    torch.testing.assert_close(causal_conv1d(*inputs), causal_conv1d(*inputs, backend='naive'))
    with pytest.raises(UserError, match='takes 32 channels or more and there are 5'):
        causal_conv1d(*inputs, backend='numba')


def test_numba_takes_part_of_a_wider_sequence_and_skips_frozen_weights():
    projected = torch.randn(2, 9, 80, dtype=torch.float64, requires_grad=True)
    _, weight, bias = make_inputs(9, 4, dim=40)
    x = projected[..., :40].transpose(1, 2)
    results = [causal_conv1d(x, weight, bias, silu=True, backend=b) for b in ('naive', 'numba')]
    torch.testing.assert_close(*results)
    grads = [torch.autograd.grad(out.sum(), projected)[0] for out in results]
    torch.testing.assert_close(*grads)
    assert not results[1].grad_fn.next_functions[1][0]


@pytest.mark.parametrize('trained', [True, False], ids=['trained', 'frozen'])
def test_numba_compiles_whole(trained):
    inputs = make_inputs(9, 4, torch.float32)
    for tensor in inputs[: 3 if trained else 1]:
        tensor.requires_grad_()

    def function(*tensors):
        return causal_conv1d(*tensors, silu=True, reverse=True, backend='numba')

    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    results = [
        torch.autograd.grad(call(*inputs).square().sum(), wanted) for call in (function, compiled)
    ]
    torch.testing.assert_close(*results)


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


@pytest.mark.parametrize('silu', [False, True], ids=['plain', 'silu'])
@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_the_package_is_asked_for_one_direction(reverse, silu, monkeypatch):
    def forwards_only(x, weight, bias=None, activation=None):
        assert activation in (None, 'silu')
        return causal_conv1d(x, weight, bias, silu=activation == 'silu', backend='naive')

    use_on_a_cpu(monkeypatch, forwards_only)
    inputs, options = make_inputs(9, 4), dict(silu=silu, reverse=reverse)
    actual = causal_conv1d(*inputs, **options, backend='causal_conv1d')
    torch.testing.assert_close(actual, causal_conv1d(*inputs, **options, backend='naive'))


def use_on_a_cpu(monkeypatch, kernel):
    monkeypatch.setattr(cuda_package, '_kernel_function', lambda: kernel)
    on_a_cpu = replace(
        TABLE._backends['causal_conv1d'], unsupported_reason=lambda tensor: None, dtypes=None
    )
    monkeypatch.setitem(TABLE._backends, 'causal_conv1d', on_a_cpu)


@pytest.mark.parametrize(('dim', 'width'), [(32, 4), (36, 4), (32, 1), (32, 5)])
@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_the_package_gets_what_its_kernel_takes(reverse, dim, width, monkeypatch):
    def strict(x, weight, bias=None, activation=None):
        assert 2 <= weight.shape[-1] <= 4
        assert x.stride(2) == 1 or not any(n % 8 for n in (x.shape[1], x.stride(0), x.stride(2)))
        return causal_conv1d(x, weight, bias, silu=activation == 'silu', backend='naive')

    use_on_a_cpu(monkeypatch, strict)
    x = torch.randn(2, 9, dim).transpose(1, 2)
    inputs = x, torch.randn(dim, width), torch.randn(dim)
    options = dict(silu=True, reverse=reverse)
    actual = causal_conv1d(*inputs, **options, backend='causal_conv1d')
    torch.testing.assert_close(actual, causal_conv1d(*inputs, **options, backend='naive'))


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('width', [1, 2, 4])
@pytest.mark.parametrize('cut', [1, 2, 6])
@pytest.mark.parametrize('backend', BACKENDS)
def test_a_sequence_in_two_parts_is_the_whole(backend, cut, width, reverse):
    x, weight, bias = make_inputs(9, width)
    options = dict(silu=True, reverse=reverse, backend=backend)
    whole, end = causal_conv1d(x, weight, bias, **options, return_final_states=True)
    parts = [x[..., :cut], x[..., cut:]]
    states, outs = None, []
    for part in reversed(parts) if reverse else parts:
        out, states = causal_conv1d(
            part, weight, bias, **options, initial_states=states, return_final_states=True
        )
        outs.append(out)
    torch.testing.assert_close(torch.cat(outs[::-1] if reverse else outs, -1), whole)
    torch.testing.assert_close(states, end)
    torch.testing.assert_close(whole, causal_conv1d(x, weight, bias, **options))


@pytest.mark.parametrize('backend', BACKENDS)
def test_initial_states_have_gradients(backend):
    inputs = make_inputs(3, 4, dim=32)
    states = torch.randn(2, 32, 3, dtype=torch.float64)
    results = []
    for name in ('naive', backend):
        leaves = [tensor.detach().requires_grad_() for tensor in (*inputs, states)]
        out, end = causal_conv1d(
            *leaves[:3], initial_states=leaves[3], return_final_states=True, backend=name
        )
        results.append(torch.autograd.grad(out.square().sum() + end.sin().sum(), leaves))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_float32_filters_of_a_half_sequence(backend, dtype):
    x, weight, bias = make_inputs(9, 4, torch.float32)
    x = x.to(dtype)
    expected = outputs_and_grads(
        causal_conv1d, [x.double(), weight.double(), bias.double()], silu=True
    )
    actual = outputs_and_grads(causal_conv1d, [x, weight, bias], silu=True, backend=backend)
    assert [tensor.dtype for tensor in actual] == [dtype, dtype, torch.float32, torch.float32]
    bound = torch.finfo(dtype).eps
    torch.testing.assert_close(actual[0].double(), expected[0], rtol=bound, atol=1e-5)
    for ours, theirs in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0.02, atol=0.02 * theirs.abs().max())


def test_the_package_gets_a_bias_like_its_filters(monkeypatch):
    def strict(x, weight, bias=None, activation=None):
        assert bias.dtype == weight.dtype
        return causal_conv1d(x, weight, bias, backend='naive')

    use_on_a_cpu(monkeypatch, strict)
    x, weight, bias = make_inputs(9, 4, torch.float32)
    out = causal_conv1d(x, weight.bfloat16(), bias, backend='causal_conv1d')
    assert out.dtype == torch.float32
