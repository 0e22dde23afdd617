import os
import subprocess
import sys

import pytest

SCAN_AND_PRINT_BITS = """
import torch
from memba_vision.ops import causal_conv1d, selective_scan

torch.manual_seed(0)
x, delta, B, C = (torch.randn(2, n, 37, requires_grad=True) for n in (32, 32, 16, 16))
hidden = causal_conv1d(x, torch.randn(32, 4), torch.randn(32), silu=True, backend='numba')
A = -torch.rand(32, 16)
out = selective_scan(hidden, delta, A, B, C, delta_softplus=True, backend='numba')
out.square().sum().backward()
for tensor in (hidden, out, x.grad, delta.grad, B.grad, C.grad):
    print(tensor.detach().contiguous().view(torch.int32).flatten().tolist())
"""


@pytest.mark.slow
def test_compiled_and_loaded_kernels_agree_to_the_bit(tmp_path):
    """A run that compiles the kernels is resumed by one that loads them."""
    environment = {**os.environ, 'NUMBA_CACHE_DIR': str(tmp_path), 'OMP_NUM_THREADS': '1'}
    compiled, loaded = (
        subprocess.run(
            [sys.executable, '-c', SCAN_AND_PRINT_BITS],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    )
    assert 'Compiling' in compiled.stderr
    assert 'Compiling' not in loaded.stderr
    assert compiled.stdout == loaded.stdout
