"""Packaging of memba_vision; tool settings are in pyproject.toml."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SOURCE = (ROOT / 'memba_vision/__init__.py').read_text(encoding='utf-8')
VERSION = re.search(r"__version__ = '(.+)'", SOURCE).group(1)

# What some users need; each is asked for by name where it is missing.
EXTRAS = {
    'app': ['gradio>=6'],
    'benchmark': ['mambapy', 'peft>=0.21', 'transformers'],
    'cluster': ['ray>=2.40', 'submitit>=1.5'],
    'cuda': ['mamba-ssm', 'causal-conv1d'],
    'data': ['gdown>=5'],
    'deploy': ['onnx>=1.17', 'onnxruntime>=1.20', 'onnxscript>=0.5'],
    'huggingface': ['datasets'],  # data that it saved
    'docs': ['sphinx>=8', 'myst-parser>=4', 'furo', 'sphinx-copybutton', 'sphinx-design'],
    'peft': ['peft>=0.21'],  # every method of Hugging Face's library as a baseline
    'search': ['optuna>=4'],
}
TESTED = ('app', 'cluster', 'deploy', 'docs', 'huggingface', 'peft', 'search')
EXTRAS['test'] = [
    *(package for extra in TESTED for package in EXTRAS[extra]),
    'hypothesis',
    'ipykernel',  # a test runs the notebooks
    'nbclient',
    'pytest',
    'pytest-xdist',
    'ruff',
    'selenium',
    'setuptools>=70.1',  # a test builds the wheel
    'tensorboard',
    # torch's CUDA builds bring Triton along; its kernels are tested without a GPU too.
    'triton; platform_system == "Linux"',
]

# What an installed copy has inside the package, where OpenMMLab's packages have it too.
SHIPPED = ('configs', 'tools', 'model-index.yml')
# Times the package and is no part of it; it needs a checkout.
LEFT_OUT = ('__pycache__', 'benchmark.py', 'benchmarking')


def link_for_mim(folder):
    """Links configs and tools of a checkout where OpenMMLab's ``mim`` looks for them."""
    folder.mkdir(exist_ok=True)
    for name in SHIPPED:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path('..', '..', name))


class BuildWithConfigs(build_py):
    """Copies configs and tools beside the code; a checkout has them at its root."""

    def run(self):
        super().run()
        if self.editable_mode:
            link_for_mim(ROOT / 'memba_vision' / '.mim')
            return
        folder = Path(self.build_lib, 'memba_vision', '.mim')
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in SHIPPED:
            if (ROOT / name).is_dir():
                left_out = shutil.ignore_patterns(*LEFT_OUT)
                shutil.copytree(ROOT / name, folder / name, ignore=left_out)
            else:
                shutil.copy(ROOT / name, folder)


setup(
    name='memba_vision',
    version=VERSION,
    description='Adapt vision Mamba models with few trained parameters, as a plugin for mmpretrain',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['memba_vision', 'memba_vision.*']),
    package_data={'memba_vision': ['pretrained/*.safetensors', 'reports/page/*']},
    cmdclass={'build_py': BuildWithConfigs},
    entry_points={'console_scripts': ['memba-vision = memba_vision.__main__:main']},
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
        'matplotlib',
        'rich',
        'numba>=0.60',
        'safetensors>=0.4.3',
        'pillow>=10.1',
        'scikit-learn',
        'scipy',  # scikit-learn brings it along
    ],
    extras_require=EXTRAS,
)
