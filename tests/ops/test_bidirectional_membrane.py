"""Both membranes at once: against one at a time, and the fast version against plain torch."""

import math

import pytest
import torch
from op_cases import outputs_and_grads

from memba_vision.errors import UserError
from memba_vision.ops import bidirectional_membrane, leaky_integrate

BACKENDS = ['torch', 'numba']
CASES = [  # batch, length, dim, num_chunks
    (1, 1, 32, 4),
    (2, 7, 33, 3),
    (1, 8, 64, 4),
    (2, 13, 70, 4),
    (2, 3, 40, 5),
    (1, 5, 32, 1),
]


def make_inputs(case, dtype=torch.float64):
    batch, length, dim, num_chunks = case
    generator = torch.Generator().manual_seed(length)
    current = torch.randn(batch, length, dim, generator=generator, dtype=dtype)
    state = 2 * batch, dim, -(-length // num_chunks)
    return current, torch.randn(state, generator=generator, dtype=dtype)


@pytest.mark.parametrize('backend', BACKENDS)
def test_each_direction_is_a_membrane_of_its_own(backend):
    current, initial = make_inputs((2, 9, 34, 4))
    potentials, mean = bidirectional_membrane(current, initial, backend=backend)
    sequence = current.transpose(1, 2)
    forward, forward_mean = leaky_integrate(sequence, initial[:2], backend='naive')
    backward, backward_mean = leaky_integrate(sequence.flip(-1), initial[2:], backend='naive')
    torch.testing.assert_close(potentials[0], forward.transpose(1, 2))
    torch.testing.assert_close(potentials[1], backward.flip(-1).transpose(1, 2))
    torch.testing.assert_close(mean, torch.cat([forward_mean, backward_mean]))


@pytest.mark.parametrize('threshold', [0.4, math.inf])
@pytest.mark.parametrize('case', CASES, ids=str)
def test_numba_equals_torch(case, threshold):
    options = dict(num_chunks=case[-1], leak=0.8, threshold=threshold)
    inputs = make_inputs(case)
    expected, actual = (
        outputs_and_grads(bidirectional_membrane, inputs, **options, backend=b) for b in BACKENDS
    )
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_float32():
    inputs = make_inputs((3, 29, 96, 4))
    expected = outputs_and_grads(bidirectional_membrane, inputs, backend='torch')
    actual = outputs_and_grads(
        bidirectional_membrane, [tensor.float() for tensor in inputs], backend='numba'
    )
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_integrated_in_float32():
    current, initial = make_inputs((2, 9, 32, 4))
    outputs = [
        bidirectional_membrane(current.bfloat16(), initial.float(), backend=b) for b in BACKENDS
    ]
    assert [tensor.dtype for tensor in outputs[0]] == [torch.bfloat16, torch.float32]
    torch.testing.assert_close(outputs[1], outputs[0])


def test_strided_and_without_a_start():
    current, _ = make_inputs((2, 9, 80, 4))
    part = current[:, 1:, 3:40]
    outputs = [bidirectional_membrane(part, backend=backend) for backend in BACKENDS]
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(
        bidirectional_membrane(part, torch.zeros(4, 37, 2).double(), backend='numba'), outputs[0]
    )


@pytest.mark.parametrize('backend', BACKENDS)
def test_nan_is_not_hidden(backend):
    current, initial = make_inputs((1, 8, 32, 4))
    current[0, 0, 5] = math.nan
    potentials, mean = bidirectional_membrane(current, initial, backend=backend)
    assert potentials[0, 0, 0, 5].isnan()
    assert mean[0, 5].isnan().any()
    assert potentials[..., :5].isfinite().all()


def test_a_wrong_start_is_told():
    current, initial = make_inputs((2, 9, 32, 4))
    with pytest.raises(UserError, match=r'must be \(2 \* batch, dim, chunk\) = \(4, 32, 3\)'):
        bidirectional_membrane(current, initial[:2])
