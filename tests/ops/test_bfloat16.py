"""The CPU kernels on bfloat16: float32's results on the same numbers, rounded once."""

import os
import platform
import subprocess
import sys

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


ROUND_IN_KERNEL = """
import numpy as np
import torch
from memba_vision.ops.numba_kernels.jit import part
from memba_vision.ops.numba_kernels.layout import WIDTH
from memba_vision.ops.numba_kernels.simd import load, load_number, store, store_number

@part()
def round_all(rows, back, numbers, values):
    for i in range(0, values.size, WIDTH):
        store(rows, (i,), load(values, (i,)))
        store(back, (i,), load(rows, (i,)))
        for k in range(WIDTH):
            store_number(numbers, (i + k,), load_number(values, (i + k,)))

bits = np.random.default_rng(0).integers(0, 1 << 32, 32 * WIDTH, dtype=np.uint32)
special = [0, 0x80000000, 1, 0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x007FFFFF]
bits[: len(special)] = special
values = torch.from_numpy(bits.view(np.float32))
rows, numbers = np.empty(bits.size, np.uint16), np.empty(bits.size, np.uint16)
back = torch.empty_like(values)
round_all(rows, back.numpy(), numbers, values.numpy())
expected, is_number = values.bfloat16(), ~values.isnan()
for found in (rows, numbers):
    rounded = torch.from_numpy(found).view(torch.bfloat16)
    assert torch.equal(rounded[is_number], expected[is_number])
    assert rounded.isnan().equal(~is_number)
assert torch.equal(back[is_number], expected[is_number].float())
"""


@pytest.mark.slow
@pytest.mark.parametrize('cpu', ['', 'haswell'])
def test_kernels_round_as_torch_does(cpu, tmp_path):
    """Also on CPUs without an instruction for it, where LLVM ended the process."""
    if cpu and platform.machine() != 'x86_64':
        pytest.skip('a CPU of another kind')
    environment = {**os.environ, 'NUMBA_CPU_NAME': cpu, 'NUMBA_CACHE_DIR': str(tmp_path)}
    if not cpu:
        del environment['NUMBA_CPU_NAME']
    command = [sys.executable, '-c', ROUND_IN_KERNEL]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
