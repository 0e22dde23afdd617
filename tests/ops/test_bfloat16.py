"""The CPU kernels on bfloat16: float32's results on the same numbers, rounded once."""

import pytest
import torch

from memba_vision.ops import (
    bidirectional_membrane,
    causal_conv1d,
    gated_merge,
    membrane_gate,
    selective_scan,
)

pytest.importorskip('numba')

BATCH, LENGTH, DIM, STATE = 2, 37, 70, 5
#: Half the distance of two neighbours in bfloat16, relative to the larger power of two.
ROUNDING = 2**-8


def sequence(*before):
    return torch.randn(*before, BATCH, LENGTH, DIM)


def matrix():
    return torch.randn(BATCH, LENGTH, STATE)


def scan(u, delta, A, B, C, D, bias, **options):
    sequences = (tensor.mT for tensor in (u, delta))
    others = (-A.abs(), B.float().mT, C.float().mT, D, None, bias)
    return selective_scan(*sequences, *others, delta_softplus=True, **options)


def scan_of_rows(u, delta, *others):
    """Scan sequences whose positions lie side by side in memory."""
    return scan(u.mT.contiguous().mT, delta.mT.contiguous().mT, *others)


def scan_inputs():
    return [sequence(), sequence()], [
        *(torch.randn(DIM, STATE), matrix(), matrix()),
        *(torch.randn(DIM), torch.randn(DIM)),
    ]


def filters():
    return [torch.randn(DIM, 4), torch.randn(DIM)]


OPS = {
    'convolution': (
        lambda x, *f: causal_conv1d(x.mT, *f, silu=True),
        lambda: ([sequence()], filters()),
    ),
    'convolution_back': (
        lambda x, *f: causal_conv1d(x.mT, *f, reverse=True),
        lambda: ([sequence()], filters()),
    ),
    'scan': (scan, scan_inputs),
    'scan_back': (lambda *tensors: scan(*tensors, reverse=True), scan_inputs),
    'scan_of_rows': (scan_of_rows, scan_inputs),
    'gate': (gated_merge, lambda: ([sequence() for _ in range(3)], [])),
    'gates': (gated_merge, lambda: ([*(sequence() for _ in range(3)), sequence(2)], [])),
    'membranes': (bidirectional_membrane, lambda: ([sequence()], [])),
    'membrane_gate': (
        lambda *tensors: membrane_gate(*(tensor.mT for tensor in tensors)),
        lambda: ([sequence() for _ in range(3)], []),
    ),
}


def results_and_gradients(op, sequences, others, dtype):
    """Return what an op makes of sequences of ``dtype``, and all gradients, as float32."""
    sequences = [tensor.to(dtype, copy=True).requires_grad_() for tensor in sequences]
    others = [tensor.clone().requires_grad_() for tensor in others]
    outs = op(*sequences, *others)
    outs = outs if isinstance(outs, tuple) else (outs,)
    assert outs[0].dtype == dtype
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(out.shape, generator=generator).bfloat16() for out in outs]
    products = (out.float() * weight for out, weight in zip(outs, weights, strict=True))
    sum(product.sum() for product in products).backward()
    assert all(tensor.grad.dtype == dtype for tensor in sequences)
    return [tensor.detach().float() for tensor in (*outs, *(t.grad for t in [*sequences, *others]))]


@pytest.fixture(params=OPS)
def case(request, monkeypatch):
    """An op and its inputs, the sequences of them rounded to bfloat16."""
    for name in ('CAUSAL_CONV1D', 'SELECTIVE_SCAN', 'GATED_MERGE', 'BIDIRECTIONAL_MEMBRANE'):
        monkeypatch.setenv(f'MEMBA_VISION_{name}_BACKEND', 'numba')
    torch.manual_seed(0)
    op, inputs = OPS[request.param]
    sequences, others = inputs()
    return op, [tensor.bfloat16().float() for tensor in sequences], others


def test_results_are_those_of_float32_rounded_once(case):
    expected = results_and_gradients(*case, torch.float32)
    actual = results_and_gradients(*case, torch.bfloat16)
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=ROUNDING, atol=1e-6)


def test_threads_leave_no_trace(case):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = results_and_gradients(*case, torch.bfloat16)
        torch.set_num_threads(3)
        actual = results_and_gradients(*case, torch.bfloat16)
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, actual, expected))


def test_special_numbers_survive():
    numbers = torch.tensor([float('nan'), float('inf'), -float('inf'), 0.0, -0.0, 1e-40, 3e38])
    x = numbers.repeat(10).expand(1, 5, 70).to(torch.bfloat16)
    out = causal_conv1d(x.mT, torch.ones(70, 1), backend='numba').mT
    torch.testing.assert_close(out[..., :6], x[..., :6], equal_nan=True, rtol=0, atol=1e-38)
    assert out[0, 0, 6] == x[0, 0, 6]
