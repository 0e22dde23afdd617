"""The tools in processes of their own, which start in a moment.

A server process imports everything once, and forks for each call.
"""

import multiprocessing
import os
import resource
import sys
from pathlib import Path

from helpers import TESTS, run_tool

# Where there is a GPU, the server finds it without beginning CUDA, which would fail in its forks.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
    [
        'memba_vision.runs.training',
        'mmpretrain.models',
        'mmpretrain.datasets',
        'mmpretrain.engine',
        'mmpretrain.evaluation',
        'mmpretrain.visualization',
    ]
)


def start(log: Path, tool: str, *arguments: object) -> multiprocessing.process.BaseProcess:
    """Start a tool; what it says goes to ``log``, and ``exitcode`` is its status."""
    process = CONTEXT.Process(target=_call, args=(str(log), tool, [str(a) for a in arguments]))
    process.start()
    return process


def _call(log: str, tool: str, arguments: list[str]) -> None:
    import torch

    torch.set_num_threads(1)
    sys.path.append(str(TESTS))
    with open(log, 'a') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        outcome = run_tool(tool, *arguments)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
        file.write(outcome.out + outcome.err)
    sys.exit(outcome.status)
