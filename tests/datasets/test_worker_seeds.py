"""Random numbers that processes which load data draw."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from memba_vision.datasets.worker_seeds import WorkerSeeds, use_worker_seeds
from memba_vision.engine.runner import ReadableRunner


class Chance(Dataset):
    """Draws from each generator for every image."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])


class ChanceInBatches(Chance):
    """Has a way of its own to the images of a batch."""

    def __getitems__(self, indices: list[int]) -> list[torch.Tensor]:
        return [self[index] for index in indices]


def loader_of(dataset: Dataset, persistent: bool, **more: object) -> DataLoader:
    settings = dict(dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False))
    settings |= dict(batch_size=2, num_workers=4, persistent_workers=persistent)
    settings |= dict(collate_fn=dict(type='default_collate'), **more)
    return ReadableRunner.build_dataloader(settings, seed=5)


def epoch(loader: DataLoader, number: int) -> torch.Tensor:
    loader.worker_init_fn.begin_epoch(5, number)
    return torch.cat(list(loader))


@pytest.mark.parametrize('kind', [Chance, ChanceInBatches])
@pytest.mark.parametrize('persistent', [True, False])
def test_an_epoch_draws_its_own_numbers_wherever_workers_began(kind, persistent):
    loader = loader_of(kind(), persistent)
    first, second = epoch(loader, 0), epoch(loader, 1)
    assert len(torch.unique(torch.cat([first, second]))) == 2 * 16 * 3
    assert torch.equal(epoch(loader_of(kind(), persistent), 1), second), 'after a resumption'


def test_seed_and_rank_make_other_numbers():
    drawn = []
    for seed, rank in [(0, 0), (1, 0), (0, 1)]:
        seeds = WorkerSeeds(print)
        seeds.rank = rank
        seeds.seed((seed, 0), worker=0)
        drawn.append(Chance()[0])
    assert len(torch.unique(torch.stack(drawn))) == 9


def test_a_test_draws_the_same_each_time():
    loader = loader_of(Chance(), persistent=False)
    assert torch.equal(torch.cat(list(loader)), torch.cat(list(loader)))


def test_the_seeds_of_a_config_are_left_alone():
    own = dict(type=lambda worker, base: torch.manual_seed(base), base=3)
    loader = loader_of(Chance(), False, worker_init_fn=own)
    assert isinstance(loader.worker_init_fn, partial)
    plain = Runner.build_dataloader(
        dict(
            dataset=Chance(),
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
    )
    use_worker_seeds(plain)
    assert not isinstance(plain.worker_init_fn, WorkerSeeds)
