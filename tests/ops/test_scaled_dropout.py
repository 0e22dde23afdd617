"""Dropout with a factor: shares, factors, dtypes, gradients and its place in torch's generator."""

import pytest
import torch

from memba_vision.errors import UserError
from memba_vision.ops import scaled_dropout


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize('shape', [(1,), (3, 5), (2, 7, 11)], ids=str)
def test_elements_are_dropped_or_scaled(dtype, shape):
    torch.manual_seed(0)
    x = torch.randn(shape).to(dtype).requires_grad_()
    out = scaled_dropout(x, 0.25, 0.5)
    assert out.dtype == dtype
    kept = out.detach() != 0
    torch.testing.assert_close(out, torch.where(kept, x * x.new_tensor(0.5 / 0.75), 0))
    out.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(kept, x.new_tensor(0.5 / 0.75), 0))


@pytest.mark.parametrize('rate', [0.01, 0.1, 0.5, 0.9])
def test_as_many_are_dropped_as_asked_for(rate):
    torch.manual_seed(0)
    count = 400_000
    dropped = (scaled_dropout(torch.ones(count), rate) == 0).double()
    deviation = (rate * (1 - rate) / count) ** 0.5
    assert abs(dropped.mean().item() - rate) < 4 * deviation
    # Those that share 64 bits do not know of each other.
    by_word = dropped.view(-1, 4) - rate
    correlations = by_word.T @ by_word / (count / 4) / (rate * (1 - rate))
    assert correlations.fill_diagonal_(0).abs().max() < 5 / (count / 4) ** 0.5


def test_the_smallest_rate_drops_next_to_nothing():
    assert (scaled_dropout(torch.ones(100_000), 1e-9) == 0).sum() < 10


def test_no_rate_is_a_factor():
    x = torch.randn(5)
    assert torch.equal(scaled_dropout(x, 0, 0.5), x * 0.5)


def test_a_seed_repeats_it():
    torch.manual_seed(3)
    first = scaled_dropout(torch.ones(99), 0.5)
    second = scaled_dropout(torch.ones(99), 0.5)
    torch.manual_seed(3)
    assert torch.equal(scaled_dropout(torch.ones(99), 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize('rate', [-0.1, 1, 1.5])
def test_a_rate_out_of_range_is_an_error(rate):
    with pytest.raises(UserError, match=r'rate must be in \[0, 1\)'):
        scaled_dropout(torch.ones(3), rate)
