"""Checks that Triton's kernels can run, without importing Triton."""

import importlib.metadata
import importlib.util
import os

import torch


def _missing() -> str | None:
    """Return the reason that there is no usable Triton, or None."""
    if importlib.util.find_spec('triton') is None:
        return "triton is not installed; it comes with torch's CUDA builds, or pip install triton"
    try:
        version = importlib.metadata.version('triton')
    except importlib.metadata.PackageNotFoundError:
        return None  # a build under another name; these are all newer
    if tuple(int(number) for number in version.split('.')[:2]) < (3, 3):
        return f'its kernels need Triton 3.3 (torch 2.7) or newer, this is Triton {version}'
    return None


MISSING = _missing()
# With Triton's own variable its kernels run on the CPU, slowly, for tests without a GPU.
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
# Interpreted kernels run only if they are chosen by name: everything else is faster.
PRIORITY = -1 if INTERPRETED else 8
# Dtypes that its kernels accept.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def unsupported_reason(tensor: torch.Tensor) -> str | None:
    """Return the reason that the kernels cannot run on tensors like this one, None if they can."""
    if tensor.device.type != 'cuda' and not (INTERPRETED and tensor.device.type == 'cpu'):
        return f'it needs tensors on a CUDA device, these are on {tensor.device.type}'
    return MISSING
