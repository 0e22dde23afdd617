"""Derivatives of the gradients: of every op on every backend, against plain torch in float64."""

import itertools

import pytest
import torch
from torch._library.custom_ops import OPDEFS

from memba_vision.errors import UserError
from memba_vision.ops import (
    ScanInputs,
    backends,
    bidirectional_membrane,
    bidirectional_scan,
    causal_conv1d,
    cross_scan,
    gated_merge,
    leaky_integrate,
    linear,
    membrane_gate,
    selective_scan,
)
from memba_vision.ops.causal_conv1d import cuda_package
from memba_vision.ops.causal_conv1d.torch_conv import causal_conv1d_torch
from memba_vision.ops.selective_scan import mamba_ssm
from memba_vision.ops.selective_scan.naive import selective_scan_naive

BATCH, DIM, LENGTH, STATE = 2, 32, 4, 3
GRID = 2, 2
SEQUENCE = (BATCH, DIM, LENGTH)
ROWS = (BATCH, LENGTH, DIM)
WAY = [SEQUENCE, SEQUENCE, (DIM, STATE), (BATCH, STATE, LENGTH), (BATCH, STATE, LENGTH)]


def scan(u, delta, A, *rest, backend):
    return selective_scan(u, delta, -A.exp(), *rest, delta_softplus=True, backend=backend)


def scan_back(u, delta, A, B, C, backend):
    return selective_scan(u, delta, -A.exp(), B, C, reverse=True, backend=backend)


def scan_both(*tensors, backend):
    half = len(tensors) // 2
    ways = [
        ScanInputs(u, delta, -A.exp(), *rest)
        for u, delta, A, *rest in (tensors[:half], tensors[half:])
    ]
    return bidirectional_scan(*ways, delta_softplus=True, backend=backend)


def scan_columns(u, delta, A, B, C, backend):
    return selective_scan(u, delta, -A.exp(), B, C, reverse=True, grid=GRID, backend=backend)


def scan_across(u, *tensors, backend):
    size = len(tensors) // 4
    starts = range(0, len(tensors), size)
    ways = (
        ScanInputs(u, delta, -A.exp(), *rest)
        for delta, A, *rest in (tensors[at : at + size] for at in starts)
    )
    return cross_scan(*ways, delta_softplus=True, grid=GRID, backend=backend)


def convolve(*tensors, backend):
    return causal_conv1d(*tensors, silu=True, backend=backend)


def convolve_back(*tensors, backend):
    return causal_conv1d(*tensors, silu=False, reverse=True, backend=backend)


def membrane(op):
    return lambda *tensors, backend: op(*tensors, num_chunks=2, backend=backend)


#: op: the call, and the shapes of its tensors.
CASES = {
    'linear': ('linear', linear, [(2, 3, 5), (4, 5), (4,)]),
    'conv': ('causal_conv1d', convolve, [SEQUENCE, (DIM, 4), (DIM,)]),
    'conv_back': ('causal_conv1d', convolve_back, [SEQUENCE, (DIM, 3)]),
    'scan': ('selective_scan', scan, [*WAY, (DIM,), SEQUENCE, (DIM,)]),
    'scan_back': ('selective_scan', scan_back, WAY),
    'scan_columns': ('selective_scan', scan_columns, WAY),
    'scan_across': ('cross_scan', scan_across, [SEQUENCE, *[*WAY[1:], (DIM,), (DIM,)] * 4]),
    'scan_both_with_all': ('bidirectional_scan', scan_both, [*WAY, (DIM,), (DIM,)] * 2),
    'shared_gate': ('gated_merge', gated_merge, [ROWS] * 3),
    'separate_gates': ('gated_merge', gated_merge, [ROWS] * 3 + [(2, *ROWS)]),
    'leaky_integrate': ('leaky_integrate', membrane(leaky_integrate), [SEQUENCE, (BATCH, DIM, 2)]),
    'membranes': (
        'bidirectional_membrane',
        membrane(bidirectional_membrane),
        [ROWS, (2 * BATCH, DIM, 2)],
    ),
    'membrane_gate': (
        'membrane_gate',
        membrane(membrane_gate),
        [SEQUENCE] * 3 + [(2 * BATCH, DIM, 2)],
    ),
}


def runs(op, backend):
    table = backends.TABLES[op]
    return table._backends[backend].unsupported_reason(torch.zeros(2, 32, 32)) is None


PAIRS = [
    pytest.param(case, backend, id=f'{case}-{backend}')
    for case, (op, _, _) in CASES.items()
    for backend in backends.TABLES[op].names()
    if runs(op, backend)
]


def test_every_custom_operator_has_derivatives():
    ours = {name: op for name, op in OPDEFS.items() if name.startswith('memba_vision::')}
    assert any(name.endswith('_backward') for name in ours)
    assert [name for name, op in ours.items() if op._backward_fn is None] == []


def derivatives(call, tensors, backend):
    """Gradients of a curved function, then those of the gradients' squares."""
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    # Each from the one before, too, so that a path is not counted twice.
    linked = [tensors[0], *(b + 0.1 * a.mean() for a, b in itertools.pairwise(tensors))]
    outs = call(*linked, backend=backend)
    outs = outs if isinstance(outs, tuple) else (outs,)
    loss = sum(out.square().sum() for out in outs)
    grads = torch.autograd.grad(loss, tensors, create_graph=True)
    penalty = sum(grad.square().sum() for grad in grads)
    return [*grads, *torch.autograd.grad(penalty, tensors)]


def make_tensors(shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) * 0.5 for shape in shapes]


@pytest.mark.parametrize(('case', 'backend'), PAIRS)
def test_second_derivatives(case, backend):
    _, call, shapes = CASES[case]
    tensors = make_tensors(shapes)
    expected = derivatives(call, [tensor.double() for tensor in tensors], 'torch')
    actual = derivatives(call, tensors, backend)
    for value, reference in zip(actual, expected, strict=True):
        scale = reference.abs().max().item()
        torch.testing.assert_close(value.double(), reference, rtol=1e-4, atol=1e-4 * scale)


def test_third_derivatives():
    def third(backend):
        x, weight = (tensor.requires_grad_() for tensor in make_tensors([SEQUENCE, (DIM, 4)]))
        value = causal_conv1d(x, weight, silu=True, backend=backend).sum()
        for _ in range(3):
            (grad,) = torch.autograd.grad(value, weight, create_graph=True)
            value = grad.square().sum()
        return grad

    torch.testing.assert_close(third('numba'), third('torch'), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize('package', ['mamba_ssm', 'causal_conv1d'])
def test_kernels_of_other_packages_refuse(package, monkeypatch):
    u, delta, A, B, C = (tensor.requires_grad_() for tensor in make_tensors(WAY))
    if package == 'mamba_ssm':
        kernel = lambda *t, z, delta_bias, delta_softplus: selective_scan_naive(*t)  # noqa: E731
        monkeypatch.setattr(mamba_ssm, '_kernel_function', lambda: kernel)
        out = mamba_ssm.selective_scan_mamba_ssm(u, delta, A, B, C)
    else:
        kernel = lambda *t, activation: causal_conv1d_torch(*t, False, False)  # noqa: E731
        monkeypatch.setattr(cuda_package, '_kernel_function', lambda: kernel)
        out = cuda_package.causal_conv1d_package(u, A, None, False, False)
    out.sum().backward(retain_graph=True)
    with pytest.raises(UserError, match=f'{package!r} has no second derivatives: choose .*=torch'):
        torch.autograd.grad(out.sum(), u, create_graph=True)


def test_an_empty_batch():
    x = torch.zeros(0, DIM, LENGTH, requires_grad=True)
    weight = torch.zeros(DIM, 4, requires_grad=True)
    out = causal_conv1d(x, weight, silu=True, backend='numba')
    (grad,) = torch.autograd.grad(out.sum(), weight, create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), weight, materialize_grads=True)
    assert not second.any()
