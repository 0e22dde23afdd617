"""States of the random generators of a process."""

import random
from typing import Any

import numpy as np
import torch


def generator_states() -> tuple[Any, ...]:
    """Return the states of Python's, NumPy's and torch's generators."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), [torch.get_rng_state(), *gpus]


def restore_generators(states: tuple[Any, ...]) -> bool:
    """Set the generators to ``states``; return True if they had moved on from there."""
    python, array, (cpu, *gpus) = generator_states()
    before_python, before_array, (before_cpu, *before_gpus) = states
    random.setstate(before_python)
    np.random.set_state(before_array)
    torch.set_rng_state(before_cpu)
    if gpus:
        torch.cuda.set_rng_state_all(before_gpus)
    return (
        python != before_python
        or any(not np.array_equal(a, b) for a, b in zip(array, before_array, strict=True))
        or any(
            not torch.equal(a, b)
            for a, b in zip((cpu, *gpus), (before_cpu, *before_gpus), strict=True)
        )
    )
