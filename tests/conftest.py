import gc
import os
import tempfile

# The suite passes behind a proxy, which must not be asked for the servers of the tests, and with a
# home that cannot be written, in which libraries keep caches.
for name in ('NO_PROXY', 'no_proxy'):
    known = [os.environ[name]] if os.environ.get(name) else []
    os.environ[name] = ','.join([*known, '127.0.0.1', 'localhost'])
if not os.access(os.path.expanduser('~'), os.W_OK):
    os.environ['HOME'] = tempfile.mkdtemp(prefix='home-')

if 'PYTEST_XDIST_WORKER' in os.environ:  # several processes share the cores
    os.environ.setdefault('OMP_NUM_THREADS', '1')

import torch

# Without a GPU, Triton's kernels are tested on the CPU; it looks when it is imported.
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'

from pathlib import Path

import pytest
from browser import browser  # noqa: F401
from file_server import serving
from helpers import REPOSITORY, forget_runs, make_task
from quick_mmengine import make_quick
from safetensors.torch import save_file

import memba_vision  # noqa: F401
from memba_vision.registry import MODELS

make_quick()

# The benchmark is no part of an installed copy.
collect_ignore = [] if (REPOSITORY / 'tools' / 'benchmarking').is_dir() else ['test_benchmark.py']


def pytest_collection_finish() -> None:
    """Leave what was imported out of collections of garbage, which took a tenth of the time."""
    gc.freeze()


def make_base(path: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        arch = dict(embed_dims=16, num_layers=2)
        model = MODELS.build(dict(type='Vim', arch=arch, img_size=48, patch_size=8))
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


@pytest.fixture(scope='session')
def base(tmp_path_factory) -> Path:
    """Weights of a random backbone of 14,000 parameters, which stands for a pre-trained one."""
    return make_base(tmp_path_factory.mktemp('base') / 'base.safetensors', seed=0)


@pytest.fixture(scope='session')
def other_base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp('other') / 'other.safetensors', seed=1)


@pytest.fixture(scope='session')
def data_root(tmp_path_factory) -> Path:
    """The task 'digits' with 32 training and 20 test images; not to be changed."""
    root = tmp_path_factory.mktemp('data')
    make_task(root, 'digits', train=24, val=8, test=20)
    return root


@pytest.fixture
def file_server(tmp_path):
    """A web server over an empty folder."""
    with serving(tmp_path / 'served') as server:
        yield server


@pytest.fixture(autouse=True)
def _no_earlier_runs():
    forget_runs()
