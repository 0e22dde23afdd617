"""The settings of a membrane, as one object or by name."""

import math

import pytest
import torch

from memba_vision.errors import UserError
from memba_vision.ops import (
    MembraneSettings,
    bidirectional_membrane,
    leaky_integrate,
    membrane_gate,
)

X = torch.linspace(-1, 2, 2 * 5 * 7).view(2, 5, 7)
CALLS = {
    'leaky_integrate': lambda *a, **options: leaky_integrate(X, *a, **options),
    'bidirectional_membrane': lambda *a, **options: bidirectional_membrane(X, *a, **options),
    'membrane_gate': lambda *a, **options: membrane_gate(X, X, X, *a, **options),
}
every_op = pytest.mark.parametrize('call', CALLS.values(), ids=CALLS)


@every_op
def test_one_object_and_names_are_the_same(call):
    settings = MembraneSettings(num_chunks=3, leak=0.5, threshold=0.7)
    expected = call(None, settings)
    assert all(map(torch.equal, call(num_chunks=3, leak=0.5, threshold=0.7), expected))
    changed = call(None, MembraneSettings(3, 0.9, 0.7), leak=0.5)
    assert all(map(torch.equal, changed, expected))


@every_op
def test_wrong_settings_are_refused(call):
    with pytest.raises(UserError, match='num_chunks must be at least 1, got 0'):
        call(num_chunks=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'chunks'"):
        call(chunks=2)


@pytest.mark.parametrize('leak', [0, -0.5, 1.01, math.nan, math.inf])
def test_leak_out_of_range(leak):
    with pytest.raises(UserError, match=r'leak must be in \(0, 1\], got'):
        MembraneSettings(leak=leak)


def test_num_chunks_is_a_whole_number():
    with pytest.raises(UserError, match=r'num_chunks must be a whole number, got 2\.0'):
        MembraneSettings(2.0)


def test_chunk_is_rounded_up():
    assert [MembraneSettings(4).chunk(length) for length in (1, 4, 5, 197)] == [1, 1, 2, 50]
