"""Packaging of memba_vision; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
SOURCE = (ROOT / 'memba_vision/__init__.py').read_text(encoding='utf-8')
VERSION = re.search(r"__version__ = '(.+)'", SOURCE).group(1)

setup(
    name='memba_vision',
    version=VERSION,
    description='Adapt vision Mamba models with few trained parameters, as a plugin for mmpretrain',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['memba_vision', 'memba_vision.*']),
    package_data={'memba_vision': ['pretrained/*.safetensors']},
    # Lower bounds: the oldest that the tests were run with, under Python 3.10. Upper bounds: the
    # OpenMMLab packages whose inner workings this one relies on.
    install_requires=[
        'torch>=2.6',  # the first whose torch.load refuses pickled code by default
        'torchvision>=0.21',
        'mmengine>=0.10.7,<0.11',
        'mmcv-lite>=2.2,<2.3',
        'mmpretrain>=1.2,<1.3',
        'timm',
        'numpy>=1.26',
        'numba>=0.60',
        'safetensors>=0.4.3',
        'pillow',
        'scikit-learn',
    ],
    extras_require={
        'benchmark': ['mambapy', 'transformers'],
        'cuda': ['mamba-ssm', 'causal-conv1d'],
        'data': ['gdown>=5'],
        'peft': ['peft>=0.21'],  # every method of Hugging Face's library as a baseline
        # torch's CUDA builds bring Triton along; its kernels are tested without a GPU too.
        'test': [
            'pytest',
            'hypothesis',
            'ruff',
            'peft>=0.21',
            'triton; platform_system == "Linux"',
        ],
    },
)
