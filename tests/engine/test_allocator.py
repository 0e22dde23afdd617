"""What becomes of memory that torch frees."""

import subprocess
import sys

import pytest

CODE = """
import resource, statistics, sys
import torch
from memba_vision.engine.allocator import keep_freed_memory

if not keep_freed_memory():
    sys.exit('no such switch')

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    blocks = [torch.ones(4 * 2**20 // 4) for _ in range(4)]
    del blocks

def faults_of_a_step():
    before = faults()
    step()
    return faults() - before

step(), step()
print(statistics.median(faults_of_a_step() for _ in range(11)))
"""


def test_the_next_step_gets_the_pages_of_the_last():
    done = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True)
    if 'no such switch' in done.stderr:
        pytest.skip('the C library has no such switch')
    # A step has four blocks of 4 MiB: 4,096 pages of 4 KiB, were each of them new. The median, as
    # the system may take pages away from a process that waits.
    assert float(done.stdout) < 300
