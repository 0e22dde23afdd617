"""The scan that graphs are made of, against the plain loop."""

import pytest
import torch
from scan_cases import assert_close, assert_like_naive, make_inputs, scan_and_grads

from memba_vision.ops import selective_scan

# batch, dim, length, state: around squares, whose roots are the chunks
SHAPES = [(1, 1, 1, 1), (2, 3, 2, 2), (1, 2, 3, 4), (2, 5, 16, 3), (1, 4, 17, 16), (2, 2, 197, 16)]


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_float64(shape, reverse):
    assert_like_naive('portable', make_inputs(*shape, torch.float64), 1e-11, reverse=reverse)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_float32(shape):
    inputs = make_inputs(*shape)
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    assert_close(scan_and_grads(inputs, 'portable'), scan_and_grads(exact, 'naive'), 2e-5)


@pytest.mark.parametrize('strength', [1e-6, 30.0, 1e4], ids='strength_{}'.format)
def test_decay_of_any_strength(strength):
    """Within a chunk the state fades by e^-0.0001, or by more than float32 can hold."""
    inputs = make_inputs(2, 3, 50, 4)
    inputs['A'] = inputs['A'] * strength
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    actual = scan_and_grads(inputs, 'portable')
    assert all(torch.isfinite(tensor).all() for tensor in actual.values())
    expected = selective_scan(**exact, delta_softplus=True, backend='naive')
    torch.testing.assert_close(actual['out'].double(), expected, rtol=1e-4, atol=1e-5)


def test_optional_inputs():
    inputs = make_inputs(1, 3, 10, 2, torch.float64)
    bare = {name: inputs[name] for name in ('u', 'delta', 'A', 'B', 'C')}
    bare['delta'] = bare['delta'].abs() / 4
    assert_like_naive('portable', bare, 1e-11, softplus=False)


class Scan(torch.nn.Module):
    def forward(self, u, delta, A, B, C):
        return selective_scan(u, delta, A, B, C, delta_softplus=True)


def exported(length: int) -> torch.export.ExportedProgram:
    inputs = make_inputs(2, 3, length, 4)
    tensors = tuple(inputs[name] for name in ('u', 'delta', 'A', 'B', 'C'))
    return torch.export.export(Scan(), tensors, strict=False)


def test_an_exported_scan_is_made_of_plain_operators_and_grows_with_the_root():
    sizes = {}
    for length in (64, 256):
        program = exported(length)
        submodules = [m for m in program.graph_module.modules() if hasattr(m, 'graph')]
        nodes = [node for module in submodules for node in module.graph.nodes]
        assert not [node.target for node in nodes if 'memba_vision' in str(node.target)]
        sizes[length] = len(nodes)
    assert sizes[256] < 2 * sizes[64]
