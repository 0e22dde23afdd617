"""Seeds of the processes that load data, which make an epoch's randomness its own."""

import random
import signal
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import RawArray
from typing import Any

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.dist import get_rank
from torch.utils.data import DataLoader, get_worker_info


class WorkerSeeds:
    """Function that each data worker of a loader calls at its start.

    It seeds Python, NumPy and torch. Where :meth:`begin_epoch` was called, a worker seeds them
    again before the first image of an epoch, from the run's seed, the epoch, the rank of its run's
    process and its own number: a worker that goes on and one that is new draw the same.

    Args:
        first: seeds a worker at its start; takes its number.
    """

    def __init__(self, first: Callable[[int], None]) -> None:
        self.first, self.rank = first, get_rank()
        self.shared = RawArray('q', [0, -1])  # seed and epoch, in memory that workers share

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Set the seed and the epoch for the batches that are asked for from now on."""
        self.shared[:] = [seed, epoch]

    def __call__(self, worker: int) -> None:
        """Prepare a worker, in its process."""
        self.first(worker)
        # A time limit is told to all processes; the main one ends this when it has saved.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        dataset = get_worker_info().dataset
        dataset.__getitems__ = _Items(dataset, self, worker)

    def seed(self, epoch: tuple[int, int], worker: int) -> None:
        """Seed a worker for an epoch, given with the run's seed."""
        numbers = np.random.SeedSequence([*epoch, self.rank, worker]).generate_state(3)
        for function, number in zip(
            (random.seed, np.random.seed, torch.manual_seed), numbers, strict=True
        ):
            function(int(number))


class _Items:
    """Way to the images of a batch, by which torch's data workers ask for them."""

    def __init__(self, dataset: Any, seeds: WorkerSeeds, worker: int) -> None:
        self.dataset, self.seeds, self.worker = dataset, seeds, worker
        self.own = getattr(dataset, '__getitems__', None)
        self.seeded: tuple[int, int] = (0, -1)

    def __call__(self, indices: Sequence[int]) -> list:
        """Return the images of a batch."""
        seed, epoch = self.seeds.shared
        if epoch >= 0 and (seed, epoch) != self.seeded:
            self.seeded = (seed, epoch)
            self.seeds.seed(self.seeded, self.worker)
        return self.own(indices) if self.own else [self.dataset[index] for index in indices]


def use_worker_seeds(loader: DataLoader) -> None:
    """Give the workers of a loader their seeds anew in each epoch, unless a config seeds them."""
    if loader.num_workers and getattr(loader.worker_init_fn, 'func', None) is worker_init_fn:
        loader.worker_init_fn = WorkerSeeds(loader.worker_init_fn)
