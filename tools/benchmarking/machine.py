"""On what it was measured: the machine, its load, and the versions of all that matters."""

import importlib.metadata
import os
import platform
import time
from pathlib import Path

import torch

PACKAGES = (
    'memba_vision',
    'torch',
    'numba',
    'numpy',
    'triton',
    'mambapy',
    'transformers',
    'timm',
    'peft',
    'mamba-ssm',
    'causal-conv1d',
)
#: Extensions of the instruction set that decide how fast the CPU kernels are.
EXTENSIONS = ('avx2', 'fma', 'avx512f', 'amx_tile')


def describe_machine(device: torch.device) -> dict[str, str]:
    """Return facts on the machine that explain the figures, by label."""
    facts = {
        'date': time.strftime('%Y-%m-%d'),
        'device': _device_name(device),
        'threads': f'{torch.get_num_threads()} (of {os.cpu_count()} logical cores)',
    }
    if hasattr(os, 'getloadavg'):
        facts['load before'] = f'{os.getloadavg()[0]:.1f} (should be near 0)'
    facts['system'] = (
        f'{platform.system()} {platform.machine()}, Python {platform.python_version()}'
    )
    facts['versions'] = ', '.join(f'{name} {_version(name)}' for name in PACKAGES)
    return facts


def as_markdown(facts: dict[str, str], command: str) -> str:
    """The facts as a section, with the command that measured."""
    lines = [f'- {label}: {fact}' for label, fact in facts.items()]
    return '\n'.join(['## Machine', '', f'`{command}`', '', *lines]) + '\n'


def _device_name(device: torch.device) -> str:
    if device.type == 'cuda':
        properties = torch.cuda.get_device_properties(device)
        return f'{properties.name}, {properties.total_memory / 1e9:.0f} GB, on {_cpu_name()}'
    return _cpu_name()


def _cpu_name() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(map(str.strip, line.split(':', 1)) for line in lines if ':' in line)
    flags = facts.get('flags', '').split()
    found = [name for name in EXTENSIONS if name in flags]
    name = facts.get('model name', platform.machine())
    return f'{name} ({", ".join(found)})' if found else name


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return 'not installed'
