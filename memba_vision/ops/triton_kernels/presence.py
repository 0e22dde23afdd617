"""Whether Triton's kernels can run; known without importing it."""

import importlib.util
import os

import torch

# Looked up, not imported: Triton takes a while, and a CPU needs none of it.
HAS_TRITON = importlib.util.find_spec('triton') is not None
# Triton's own variable: kernels then run on the CPU, slowly, to be tested without a GPU.
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
# Interpreted kernels run where they are named; 'auto' finds something better anywhere.
PRIORITY = -1 if INTERPRETED else 8
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def obstacle(tensor: torch.Tensor) -> str | None:
    """Why Triton's kernels cannot run on tensors like this one, or None where they can."""
    if tensor.device.type != 'cuda' and not (INTERPRETED and tensor.device.type == 'cpu'):
        return f'it needs tensors on a CUDA device, these are on {tensor.device.type}'
    if tensor.dtype not in DTYPES:
        return f'it takes float32, bfloat16 and float16, these are {tensor.dtype}'
    if not HAS_TRITON:
        return "triton is not installed; it comes with torch's CUDA builds, or pip install triton"
    return None
