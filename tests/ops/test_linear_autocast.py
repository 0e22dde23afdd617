"""Linear maps under autocast: frozen weights are converted once, and anew when they change."""

import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.errors import UserError
from memba_vision.ops import linear, linear_each
from memba_vision.ops.linear import autocast


@pytest.fixture
def conversions(monkeypatch):
    """Count the weights that are converted, and forget those of earlier tests."""
    seen = []
    convert = autocast._Converted

    def counting(weight, *others):
        seen.append(weight)
        return convert(weight, *others)

    monkeypatch.setattr(autocast, '_Converted', counting)
    return seen


def frozen(*shape):
    return nn.Parameter(torch.randn(shape), requires_grad=False)


def in_bfloat16(x, weight):
    with torch.autocast('cpu', torch.bfloat16):
        return linear(x, weight)


def expected(x, weight):
    with torch.autocast('cpu', torch.bfloat16):
        return F.linear(x, weight)


def test_a_frozen_weight_is_converted_once(conversions):
    x, weight = torch.randn(3, 8), frozen(5, 8)
    for _ in range(3):
        torch.testing.assert_close(in_bfloat16(x, weight), expected(x, weight))
    assert len(conversions) == 1


CHANGES = {
    'in_place': lambda weight: weight.mul_(2),
    'through_data': lambda weight: weight.data.mul_(2),
    'other_memory': lambda weight: setattr(weight, 'data', weight.data * 2),
    'state_dict': lambda weight: weight.copy_(weight * 2),
}


@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
@torch.no_grad()
def test_a_changed_weight_is_converted_anew(change, conversions):
    x, weight = torch.randn(3, 8), frozen(5, 8)
    before = in_bfloat16(x, weight)
    change(weight)
    torch.testing.assert_close(in_bfloat16(x, weight), 2 * before)
    assert len(conversions) == 2


def test_parts_of_a_weight_share_its_conversion(conversions):
    x, weight = torch.randn(3, 8), frozen(6, 8)
    with torch.autocast('cpu', torch.bfloat16):
        first, rest = linear_each(x, weight[:2], weight[2:])
        column = linear(x[:, 1:4], weight[:, 1:4])
    torch.testing.assert_close(torch.cat([first, rest], 1), expected(x, weight))
    torch.testing.assert_close(column, expected(x[:, 1:4], weight[:, 1:4]))
    assert len(conversions) == 1


@pytest.mark.parametrize('entry', range(3))
def test_parts_of_a_weight_that_does_not_begin_where_its_memory_does(entry):
    # As torch.nn.utils.vector_to_parameters leaves them.
    weight = nn.Parameter(torch.randn(7 + 3 * 5 * 8)[7:].view(3, 5, 8), requires_grad=False)
    x = torch.randn(4, 8)
    torch.testing.assert_close(in_bfloat16(x, weight[entry]), expected(x, weight[entry]))


def test_float64_is_left_alone(conversions):
    x, weight = torch.randn(3, 8, dtype=torch.float64), frozen(5, 8)
    assert torch.equal(in_bfloat16(x, weight.double()), F.linear(x, weight.double()))
    assert not conversions
    with pytest.raises(UserError, match='autocast, which leaves float64 as it is'):
        in_bfloat16(x, weight)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_what_is_added_is_not_rounded(dtype):
    x, weight = torch.randn(3, 8), frozen(5, 8)
    added = torch.randn(3, 5, dtype=dtype, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        out = linear(x, weight, added=added)
    assert out.dtype == dtype
    tolerance = 0.02 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(out, expected(x, weight) + added, rtol=tolerance, atol=tolerance)
    out.sum().backward()
    assert torch.equal(added.grad, torch.ones_like(added))


def test_trained_weights_get_gradients_in_their_own_dtype(conversions):
    x, weight = torch.randn(3, 8, requires_grad=True), nn.Parameter(torch.randn(5, 8))
    in_bfloat16(x, weight).float().sum().backward()
    assert (weight.grad.dtype, x.grad.dtype) == (torch.float32, torch.float32)
    sums = x.detach().bfloat16().float().sum(0).expand(5, 8)
    torch.testing.assert_close(weight.grad, sums, rtol=2**-8, atol=1e-6)
    assert not conversions


def test_what_inference_has_converted_serves_a_training(conversions):
    x, weight = torch.randn(3, 8), frozen(5, 8)
    with torch.inference_mode():
        in_bfloat16(x, weight)
    in_bfloat16(x.requires_grad_(), weight).float().sum().backward()
    torch.testing.assert_close(x.grad, weight.sum(0).expand(3, 8), rtol=0.05, atol=0.05)
    assert len(conversions) == 1


def test_a_weight_that_is_gone_is_forgotten():
    x, weight = torch.randn(3, 8), frozen(5, 8)
    in_bfloat16(x, weight)
    assert weight in autocast._converted
    count = len(autocast._converted)
    del weight
    gc.collect()
    assert len(autocast._converted) < count


def test_outside_autocast_nothing_is_converted(conversions):
    x, weight = torch.randn(3, 8), frozen(5, 8)
    torch.testing.assert_close(linear(x, weight), F.linear(x, weight))
    assert not conversions
