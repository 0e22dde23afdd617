"""The membrane on cases worked out by hand, and the fast version against the plain loop."""

import math

import pytest
import torch
from membrane_cases import integrate_and_grads, make_inputs

from memba_vision.errors import UserError
from memba_vision.ops import leaky_integrate

BACKENDS = ['naive', 'torch']

# input, initial, options -> potentials, mean; all with one sample and one channel
BY_HAND = {
    'one chunk is the input': (
        [0.5, -2.0, 0.25], None, dict(num_chunks=1), [0.5, -2.0, 0.25], [0.5, -2.0, 0.25],
    ),
    'leak and reset, padded at the end': (
        [0.4, 0.8, 0.9, 0.5, 0.2], None, dict(num_chunks=3, leak=0.5),
        [0.4, 0.8, 0.0, 0.9, 0.2], [0.2, (0.8 + 0.9 + 0.45) / 3],
    ),
    'carried from the block before': (
        [0.4, 0.8, 0.9, 0.5, 0.2], [0.6, -1.0], dict(num_chunks=3, leak=0.5),
        [0.7, 0.3, 0.0, 0.65, 0.2], [0.3, (0.3 + 0.65 + 0.325) / 3],
    ),
    'a reset in the first chunk': (
        [0.75, 0.25, 0.5, 0.5], [0.5, 0.5], dict(num_chunks=2, leak=1.0),
        [0.0, 0.75, 0.5, 0.0], [0.25, 0.375],
    ),
    'at the threshold there is no reset': (
        [1.0, 0.5], None, dict(num_chunks=2, leak=0.5), [1.0, 1.0], [1.0],
    ),
    'another threshold': (
        [1.0, 2.5], None, dict(num_chunks=2, leak=0.5, threshold=3.0), [1.0, 3.0], [2.0],
    ),
    'negative potentials stay': (
        [-3.0, -3.0], None, dict(num_chunks=2, leak=1.0), [-3.0, -6.0], [-4.5],
    ),
    'infinity never resets': (
        [2.0, 3.0, 4.0], None, dict(num_chunks=3, leak=1.0, threshold=math.inf),
        [2.0, 5.0, 9.0], [16 / 3],
    ),
    'shorter than the number of chunks': (
        [0.5, 1.2], None, dict(num_chunks=4, leak=0.5), [0.5, 0.0], [0.125],
    ),
    'one position': (
        [0.8], None, dict(num_chunks=4, leak=0.5), [0.8], [(0.8 + 0.4 + 0.2 + 0.1) / 4],
    ),
}  # fmt: skip


def row(values):
    return torch.tensor([[values]], dtype=torch.float64)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('case', BY_HAND.values(), ids=BY_HAND)
def test_by_hand(case, backend):
    x, initial, options, potential, mean = case
    actual = leaky_integrate(
        row(x), None if initial is None else row(initial), **options, backend=backend
    )
    torch.testing.assert_close(actual, (row(potential), row(mean)))


@pytest.mark.parametrize('carried', [False, True], ids=['from_zero', 'carried'])
@pytest.mark.parametrize('num_chunks', [1, 3, 4, 8])
@pytest.mark.parametrize('length', [1, 2, 3, 7, 16, 65, 197])
def test_equals_the_plain_loop(length, num_chunks, carried):
    x, initial = make_inputs(length, num_chunks)
    initial = initial if carried else None
    results = [
        integrate_and_grads(x, initial, num_chunks=num_chunks, leak=0.7, backend=backend)
        for backend in BACKENDS
    ]
    assert results[0][1].shape == (2, 3, math.ceil(length / num_chunks))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def test_random_inputs_do_reset():
    potential, _ = leaky_integrate(make_inputs(197, 4)[0])
    assert 0.05 < (potential == 0).double().mean() < 0.5


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_reset_stops_the_gradient(backend):
    x = row([0.75, 0.75, 0.5]).requires_grad_()
    initial = row([0.5]).requires_grad_()
    potential, mean = leaky_integrate(x, initial, num_chunks=3, leak=0.5, backend=backend)
    assert potential.tolist() == [[[1.0, 0.0, 0.5]]]
    (potential.sum() + 3 * mean.sum()).backward()
    assert x.grad.tolist() == [[[2.0, 0.0, 2.0]]]
    assert initial.grad.tolist() == [[[1.0]]]


@pytest.mark.parametrize('backend', BACKENDS)
def test_gradient_runs_back_through_the_leak(backend):
    x, initial = row([0.1, 0.1]).requires_grad_(), row([0.1]).requires_grad_()
    _, mean = leaky_integrate(x, initial, num_chunks=2, leak=0.5, backend=backend)
    (2 * mean).sum().backward()
    torch.testing.assert_close(x.grad, row([1.5, 1.0]))
    torch.testing.assert_close(initial.grad, row([0.75]))


@pytest.mark.parametrize('num_chunks', [1, 3, 8])
def test_gradcheck(num_chunks):
    x, initial = make_inputs(7, num_chunks)
    options = dict(num_chunks=num_chunks, leak=0.9)
    before_reset, _ = leaky_integrate(x, initial, **options, threshold=math.inf)
    assert (before_reset - 1).abs().min() > 1e-3
    assert torch.autograd.gradcheck(
        lambda *tensors: leaky_integrate(*tensors, **options),
        (x.requires_grad_(), initial.requires_grad_()),
    )


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_integrated_in_float32(dtype, backend):
    x, initial = make_inputs(197, 4, dtype)
    potential, mean = leaky_integrate(x, initial, backend=backend)
    expected, expected_mean = leaky_integrate(x.float(), initial, backend=backend)
    assert (potential.dtype, mean.dtype) == (dtype, torch.float32)
    assert torch.equal(potential, expected.to(dtype))
    assert torch.equal(mean, expected_mean)


def test_autocast_changes_nothing():
    x, initial = make_inputs(197, 4, torch.float32)
    expected = integrate_and_grads(x, initial)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        actual = integrate_and_grads(x, initial)
    assert all(map(torch.equal, actual, expected))


def test_input_is_left_as_it_was():
    x, initial = make_inputs(197, 4)
    before = x.clone(), initial.clone()
    leaky_integrate(x, initial)
    assert torch.equal(x, before[0])
    assert torch.equal(initial, before[1])


def test_a_transposed_sequence():
    x, initial = make_inputs(17, 4)
    transposed = x.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(leaky_integrate(transposed, initial), leaky_integrate(x, initial))


@pytest.mark.parametrize('shape', [(1, 2, 4), (2, 2, 2), (1, 3, 2), (2, 2)], ids=str)
def test_initial_of_another_shape(shape):
    with pytest.raises(UserError, match=r'\(1, 2, 2\), got') as error:
        leaky_integrate(torch.zeros(1, 2, 5), torch.zeros(shape), num_chunks=4)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize('carried', [False, True], ids=['from_zero', 'carried'])
def test_compiled_equals_eager(carried):
    x, initial = make_inputs(17, 4, torch.float32)
    initial = initial if carried else None

    def integrate(x, initial):
        potential, mean = leaky_integrate(x * 2, initial, num_chunks=4, leak=0.8)
        return potential * 2, mean

    results = []
    for function in (integrate, torch.compile(integrate, fullgraph=True, backend='aot_eager')):
        leaves = [None if t is None else t.detach().requires_grad_() for t in (x, initial)]
        potential, mean = function(*leaves)
        (potential.square().sum() + mean.square().sum()).backward()
        results.append([potential, mean, *(t.grad for t in leaves if t is not None)])
    assert all(map(torch.equal, *results))
