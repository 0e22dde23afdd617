"""The low-rank gate: by hand, and the fast version against plain torch."""

import pytest
import torch

from memba_vision.errors import UserError
from memba_vision.ops import gated_merge, low_rank_gate
from memba_vision.ops.low_rank_gate import numba_cpu

CASES = [(1, 1, 32, 1), (2, 5, 33, 4), (3, 7, 96, 16), (1, 11, 100, 3)]  # batch, length, dim, rank


def make_inputs(case, dtype=torch.float32):
    batch, length, dim, rank = case
    generator = torch.Generator().manual_seed(length)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    sequences = [3 * normal(batch, length, dim) for _ in range(3)]
    return [*sequences, normal(2, batch, length, rank), normal(dim, rank)]


def gate_and_grads(inputs, backend):
    inputs = [tensor.detach().requires_grad_() for tensor in inputs]
    out = low_rank_gate(*inputs, backend=backend)
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out * weight).sum(), inputs)]


@pytest.mark.parametrize('backend', ['torch', 'numba'])
def test_by_hand(backend):
    inputs = make_inputs((2, 3, 32, 5))
    forward_scan, backward_scan, gate, hidden, up = inputs
    forward = forward_scan * torch.nn.functional.silu(gate + hidden[0] @ up.T)
    backward = backward_scan * torch.nn.functional.silu(gate + hidden[1] @ up.T)
    out = low_rank_gate(*inputs, backend=backend)
    torch.testing.assert_close(out, (forward + backward) / 2, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('stretch', [32, 200, numba_cpu.STRETCH])
@pytest.mark.parametrize('case', CASES, ids=str)
def test_numba_equals_torch_in_float64(case, stretch, monkeypatch):
    monkeypatch.setattr(numba_cpu, 'STRETCH', stretch)
    inputs = make_inputs(case)
    expected = gate_and_grads([tensor.double() for tensor in inputs], 'torch')
    actual = gate_and_grads(inputs, 'numba')
    for value, reference in zip(actual, expected, strict=True):
        scale = reference.abs().max().item()
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-5 * scale)


def test_gate_may_be_a_part_of_a_projection():
    inputs = make_inputs((2, 5, 40, 4))
    expected = low_rank_gate(*inputs, backend='torch')
    inputs[2] = torch.cat([inputs[2] + 1, inputs[2]], dim=-1)[..., 40:]
    inputs[0] = inputs[0].transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(low_rank_gate(*inputs, backend='numba'), expected)


def test_does_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(numba_cpu, 'STRETCH', 500)
    inputs, before = make_inputs((2, 21, 70, 4)), torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(gate_and_grads(inputs, 'numba'))
    finally:
        torch.set_num_threads(before)
    assert all((a == b).all() for a, b in zip(*results, strict=True))


def test_other_dtypes_are_left_to_the_composed_version():
    for dtype in (torch.float64, torch.bfloat16):
        *tensors, hidden, up = make_inputs((2, 5, 40, 4), dtype)
        expected = gated_merge(*tensors, hidden @ up.T)
        torch.testing.assert_close(low_rank_gate(*tensors, hidden, up), expected)
    with pytest.raises(UserError, match='takes float32 tensors on the CPU'):
        low_rank_gate(*make_inputs((2, 5, 40, 4), torch.float64), backend='numba')
