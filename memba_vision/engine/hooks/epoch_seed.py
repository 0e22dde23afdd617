"""Hook that makes randomness independent of interruptions."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from memba_vision.datasets.worker_seeds import WorkerSeeds
from memba_vision.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed the random generators before each epoch from the run's seed, the epoch and the rank.

    Dropout, drop path and random transforms then draw the same numbers in an uninterrupted run and
    in one that was resumed from a checkpoint.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed Python, NumPy and torch, here and in the processes that load data."""
        seeds = getattr(getattr(runner, 'train_dataloader', None), 'worker_init_fn', None)
        if isinstance(seeds, WorkerSeeds):
            seeds.begin_epoch(runner.seed, runner.epoch)
        entropy = np.random.SeedSequence([runner.seed, runner.epoch, get_rank()])
        seed = int(entropy.generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Seed again, since starting the data workers draws a random number.

        They start once a run, so the first epoch after a resumption would differ.
        """
        if batch_idx == 0 and runner.train_dataloader.num_workers:
            self.before_train_epoch(runner)
