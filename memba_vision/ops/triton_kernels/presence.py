"""Whether Triton's kernels can run; known without importing it."""

import importlib.metadata
import importlib.util
import os

import torch


def _missing() -> str | None:
    """What Triton lacks, or None. Looked up, not imported: a CPU needs none of it."""
    if importlib.util.find_spec('triton') is None:
        return "triton is not installed; it comes with torch's CUDA builds, or pip install triton"
    try:
        version = importlib.metadata.version('triton')
    except importlib.metadata.PackageNotFoundError:
        return None  # a build of another name, all of which are newer
    if tuple(int(number) for number in version.split('.')[:2]) < (3, 3):
        return f'its kernels need Triton 3.3 (torch 2.7) or newer, this is Triton {version}'
    return None


MISSING = _missing()
# Triton's own variable: kernels then run on the CPU, slowly, to be tested without a GPU.
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
# Interpreted kernels run where they are named; 'auto' finds something better anywhere.
PRIORITY = -1 if INTERPRETED else 8
# What its kernels take.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def unsupported_reason(tensor: torch.Tensor) -> str | None:
    """Why Triton's kernels cannot run on tensors like this one, or None where they can."""
    if tensor.device.type != 'cuda' and not (INTERPRETED and tensor.device.type == 'cpu'):
        return f'it needs tensors on a CUDA device, these are on {tensor.device.type}'
    return MISSING
