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


def start(
    log: Path, tool: str, *arguments: object, **environment: str
) -> multiprocessing.process.BaseProcess:
    """Start a tool; what it says goes to ``log``, and ``exitcode`` is its status."""
    given = (str(log), tool, [str(a) for a in arguments], environment)
    process = CONTEXT.Process(target=_call, args=given)
    process.start()
    return process


def _call(log: str, tool: str, arguments: list[str], environment: dict[str, str]) -> None:
    import torch

    os.environ.update(environment)
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
