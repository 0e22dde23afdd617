"""The membrane's gate against its equation, and the composed version against the plain loop."""

import pytest
import torch
import torch.nn.functional as F
from membrane_cases import gate_and_grads, make_gate_inputs

from memba_vision.errors import UserError
from memba_vision.ops import leaky_integrate, membrane_gate


@pytest.mark.parametrize('backend', ['naive', 'torch'])
def test_both_directions_by_the_equation(backend):
    """Each direction by itself; the backward one on the flipped sequence, flipped back."""
    z, forward_scan, backward_scan, initial = make_gate_inputs(7, 3)
    options = dict(num_chunks=3, leak=0.5, threshold=0.8)
    forward, mean_forward = leaky_integrate(z, initial[:2], **options)
    backward, mean_backward = leaky_integrate(z.flip(-1), initial[2:], **options)
    expected = forward_scan * F.silu(forward) + (backward_scan.flip(-1) * F.silu(backward)).flip(-1)
    inputs = z, forward_scan, backward_scan, initial
    merged, mean = membrane_gate(*inputs, **options, backend=backend)
    torch.testing.assert_close(merged, expected / 2)
    torch.testing.assert_close(mean, torch.cat([mean_forward, mean_backward]))


@pytest.mark.parametrize('carried', [False, True], ids=['from_zero', 'carried'])
@pytest.mark.parametrize('num_chunks', [1, 4])
@pytest.mark.parametrize('length', [1, 2, 65])
def test_equals_the_plain_loop(length, num_chunks, carried):
    inputs = make_gate_inputs(length, num_chunks)
    inputs = inputs if carried else [*inputs[:3], None]
    results = [
        gate_and_grads(inputs, num_chunks=num_chunks, leak=0.7, backend=backend)
        for backend in ('naive', 'torch')
    ]
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('backend', ['naive', 'torch'])
def test_keeps_the_dtype_of_the_scans(backend):
    z, forward_scan, backward_scan, initial = make_gate_inputs(9, 4, torch.float32)
    scans = forward_scan.bfloat16(), backward_scan.bfloat16()
    merged, mean = membrane_gate(z, *scans, initial, backend=backend)
    assert (merged.dtype, mean.dtype) == (torch.bfloat16, torch.float32)


def test_initial_of_another_shape():
    z = torch.zeros(1, 2, 4)
    with pytest.raises(UserError, match=r'\(2, 2, 1\), got \(1, 2, 1\)'):
        membrane_gate(z, z, z, torch.zeros(1, 2, 1))


@pytest.mark.parametrize('num_chunks', [1, 4])
@pytest.mark.parametrize('dim', [32, 33, 64, 70])
@pytest.mark.parametrize('length', [1, 2, 21])
def test_numba_equals_the_plain_loop(length, dim, num_chunks):
    inputs = make_gate_inputs(length, num_chunks, dim=dim)
    options = dict(num_chunks=num_chunks, leak=0.8, threshold=0.6)
    expected = gate_and_grads(inputs, backend='naive', **options)
    actual = gate_and_grads(inputs, backend='numba', **options)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_numba_in_float32_on_channel_last_memory():
    inputs = make_gate_inputs(45, 4, dim=70)
    expected = gate_and_grads(inputs, backend='naive')
    single = [t.float().transpose(1, 2).contiguous().transpose(1, 2) for t in inputs]
    actual = gate_and_grads(single, backend='numba')
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-5)
