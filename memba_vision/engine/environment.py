"""Facts on the software and the devices of this process, for logs and records."""

import importlib.metadata
import platform

import torch

PACKAGES = (
    'memba_vision',
    'torch',
    'torchvision',
    'mmengine',
    'mmcv-lite',
    'mmpretrain',
    'numpy',
    'pillow',
    'safetensors',
    'numba',
    'mamba-ssm',
    'causal-conv1d',
)


def versions() -> dict[str, str | None]:
    """Return the versions of Python, of the packages that results depend on, and the GPU's name.

    They are read from what is installed: some of these packages take a second to import.
    """
    found = {'python': platform.python_version(), 'platform': platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    found['gpu'] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return found


def describe_environment() -> dict[str, object]:
    """Return the :func:`versions`, and how torch was built, for the log."""
    gpus = [torch.cuda.get_device_name(gpu) for gpu in range(torch.cuda.device_count())]
    return {**versions(), 'gpu': ', '.join(gpus) or None, 'torch built': torch.__config__.show()}
