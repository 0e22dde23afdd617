"""The threads that CPU kernels run on: those of torch, or Python's where there are none."""

import os
import signal

import numpy as np
import pytest
import torch

threads = pytest.importorskip('memba_vision.ops.numba_kernels.threads')
from memba_vision.ops.numba_kernels.jit import kernel  # noqa: E402


def square(first, last, numbers):
    for i in range(first, last):
        numbers[i] = numbers[i] * numbers[i]


def fail(first, last, numbers):
    if numbers[first] >= 0:
        raise ValueError


squares = kernel(square)


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def run_squares(items=1001):
    numbers = np.arange(float(items))
    threads.run(squares, items, numbers)
    return numbers


def test_every_item_is_computed_once():
    for items in (0, 1, 2, 7, 1001):
        assert np.array_equal(run_squares(items), np.arange(float(items)) ** 2)


def test_torchs_own_threads_are_found():
    assert threads._openmp()


def test_without_openmp_pythons_threads_take_over(monkeypatch):
    monkeypatch.setattr(threads, '_openmp', lambda: None)
    assert np.array_equal(run_squares(), np.arange(1001.0) ** 2)


def test_a_kernel_that_fails_is_an_error():
    with pytest.raises(MemoryError):
        threads.run(kernel(fail), 9, np.arange(9.0))


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='the system has no fork')
@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_forked_child_does_not_wait_for_threads_that_it_has_not():
    run_squares()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if np.array_equal(run_squares(), np.arange(1001.0) ** 2) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
