"""The gate of both directions: by hand, and the fast version against plain torch."""

import pytest
import torch
import torch.nn.functional as F
from op_cases import outputs_and_grads

from memba_vision.errors import UserError
from memba_vision.ops import gated_merge

SHAPES = [(1, 1, 32), (2, 5, 33), (3, 4, 96), (1, 7, 100)]
separate = pytest.mark.parametrize('separate', [False, True], ids=['shared', 'separate'])


def make_inputs(shape, separate, dtype=torch.float64):
    generator = torch.Generator().manual_seed(shape[1])
    count = 5 if separate else 3
    tensors = list(torch.randn(count, *shape, generator=generator, dtype=dtype) * 3)
    return [*tensors[:3], torch.stack(tensors[3:])] if separate else tensors


def test_by_hand():
    one = torch.ones(1, 1, 1)
    shared = gated_merge(one, 3 * one, 2 * one)
    assert shared.item() == pytest.approx(2 * 2 * 0.880797)
    updates = torch.stack([-2 * one, 1 * one])
    separate = gated_merge(one, 3 * one, 2 * one, updates)
    assert separate.item() == pytest.approx((0 + 3 * 3 * 0.952574) / 2)


@separate
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_numba_equals_torch(shape, separate):
    inputs = make_inputs(shape, separate)
    expected, actual = (
        outputs_and_grads(gated_merge, inputs, backend=backend) for backend in ('torch', 'numba')
    )
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@separate
def test_float32(separate):
    inputs = make_inputs((2, 9, 70), separate)
    expected = outputs_and_grads(gated_merge, inputs, backend='torch')
    actual = outputs_and_grads(gated_merge, [tensor.float() for tensor in inputs], backend='numba')
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=1e-5, atol=1e-5)


@separate
def test_gate_may_be_a_part_of_a_projection(separate):
    inputs = make_inputs((2, 5, 40), separate)
    expected = gated_merge(*inputs, backend='torch')
    projected = torch.cat([inputs[2] + 1, inputs[2]], dim=-1)
    inputs[2] = projected[..., 40:]
    inputs[0] = inputs[0].transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(gated_merge(*inputs, backend='numba'), expected)


@separate
def test_bfloat16_keeps_its_dtype(separate):
    inputs = [tensor.bfloat16() for tensor in make_inputs((2, 3, 32), separate)]
    out = gated_merge(*inputs, backend='numba')
    assert out.dtype == torch.bfloat16
    expected = gated_merge(*(tensor.double() for tensor in inputs), backend='torch')
    torch.testing.assert_close(out.double(), expected, rtol=1e-2, atol=1e-2)


def test_extreme_gates_are_finite():
    gate = torch.tensor([-1e3, -200.0, -88.0, 0.0, 88.0, 200.0, 1e30]).repeat(8)[:33]
    scan = torch.ones(1, 1, 33)
    out = gated_merge(scan, scan, gate.view(1, 1, 33), backend='numba')
    torch.testing.assert_close(out.view(-1), F.silu(gate), rtol=1e-6, atol=1e-35)


def test_few_channels_are_left_to_torch():
    inputs = make_inputs((1, 2, 8), False)
    torch.testing.assert_close(gated_merge(*inputs), gated_merge(*inputs, backend='torch'))
    with pytest.raises(UserError, match='takes 32 channels or more and there are 8'):
        gated_merge(*inputs, backend='numba')
