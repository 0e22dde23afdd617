"""The kernels that are kept on disk: what is read is what was written, or it is compiled again."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

kept = pytest.importorskip('memba_vision.ops.numba_kernels.cache')
from memba_vision.ops.numba_kernels.jit import kernel  # noqa: E402
from memba_vision.ops.numba_kernels.threads import run  # noqa: E402

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


def double(first, last, numbers):
    for i in range(first, last):
        numbers[i] = 2 * numbers[i]


def load_or_compile():
    """Run a kernel as a new process would, and say where it came from."""
    compiled = kernel(double)
    numbers = np.arange(3.0)
    run(compiled, 3, numbers)
    assert numbers.tolist() == [0, 2, 4]
    return 'loaded' if sum(compiled.stats.cache_hits.values()) else 'compiled'


def use(root, monkeypatch):
    monkeypatch.setenv('NUMBA_CACHE_DIR', str(root))
    monkeypatch.setattr(kept, '_warned', [])
    monkeypatch.setattr(kept, '_folder', functools.cache(kept._folder.__wrapped__))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache that holds one compiled kernel."""
    use(tmp_path / 'cache', monkeypatch)
    assert load_or_compile() == 'compiled'
    assert load_or_compile() == 'loaded'
    return kept._folder()


def test_what_is_on_disk_is_loaded_ahead(folder, monkeypatch):
    ahead = kernel(double)
    monkeypatch.setattr(kept, 'double', ahead, raising=False)
    kept.load_kernels()
    assert len(ahead.signatures) == 1
    assert sum(ahead.stats.cache_hits.values()) == 1
    assert not ahead.stats.cache_misses


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    'cut_off': lambda path: path.write_bytes(path.read_bytes()[:-40]),
    'empty': lambda path: path.write_bytes(b''),
    'text': lambda path: path.write_text('no kernel\n' * 20),
    'one_bit': flip_a_bit,
}


@pytest.mark.parametrize('ending', ['.nbi', '.nbc'])
@pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_said_and_made_anew(folder, damage, ending, caplog):
    (path,) = folder.glob(f'*{ending}')
    damage(path)
    caplog.clear()
    assert load_or_compile() == 'compiled'
    (line,) = caplog.messages
    assert 'without their cache' in line and f'{path} is damaged' in line and str(folder) in line
    assert load_or_compile() == 'loaded'


@pytest.mark.skipif(not hasattr(os, 'getuid'), reason='files have no owner here')
@pytest.mark.parametrize('ending', ['.nbi', '.nbc'])
def test_code_of_another_user_is_not_run(folder, ending, monkeypatch, caplog):
    (path,) = folder.glob(f'*{ending}')
    before = path.read_bytes()
    if os.getuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, 'getuid', lambda: 12345)
    caplog.clear()
    assert load_or_compile() == 'compiled'
    (line,) = caplog.messages
    assert ' belongs to another user' in line
    assert path.read_bytes() == before


def test_a_cache_that_cannot_be_written_is_said_once(tmp_path, monkeypatch, caplog):
    (tmp_path / 'file').write_text('no folder')
    use(tmp_path / 'file', monkeypatch)
    assert [load_or_compile() for _ in range(2)] == ['compiled'] * 2
    first, *others = [line for line in caplog.messages if 'without their cache' in line]
    assert 'Set NUMBA_CACHE_DIR to a folder of your own' in first and not others


def test_a_whole_cache_that_is_read_only_is_read(folder, caplog):
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    caplog.clear()
    assert load_or_compile() == 'loaded'
    assert not caplog.messages


def test_a_user_without_a_home_has_a_cache(monkeypatch, tmp_path):
    def no_home():
        raise RuntimeError('Could not determine home directory.')

    use('', monkeypatch)
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.setattr(Path, 'home', no_home)
    monkeypatch.setattr(kept.tempfile, 'gettempdir', lambda: str(tmp_path))
    assert kept._folder().is_relative_to(tmp_path)
