"""What becomes of memory that torch frees."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import torch
from memba_vision.engine.allocator import keep_freed_memory

if not keep_freed_memory():
    sys.exit('no such switch')

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def step():
    blocks = [torch.ones(4 * 2**20 // 4) for _ in range(4)]
    del blocks

step(), step()
before = faults()
for _ in range(10):
    step()
print(faults() - before)
"""


def test_the_next_step_gets_the_pages_of_the_last():
    done = subprocess.run([sys.executable, '-c', CODE], capture_output=True, text=True)
    if 'no such switch' in done.stderr:
        pytest.skip('the C library has no such switch')
    # Ten steps of four blocks of 4 MiB: 40,960 pages of 4 KiB, were each of them new.
    assert int(done.stdout) < 3000
