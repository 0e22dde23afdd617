"""Images that are kept in memory: the same bits, read once, in every process that loads data."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_task
from torch.utils.data import DataLoader

from memba_vision.datasets import keeping_pipeline
from memba_vision.datasets.kept_images import MOST_IMAGES, KeptImages
from memba_vision.datasets.vtab1k import VTAB1k

PIPELINE = [
    dict(type='mmpretrain.LoadImageFromFile'),
    dict(type='mmpretrain.Resize', scale=(8, 8), backend='pillow', interpolation='bicubic'),
    dict(type='mmpretrain.PackInputs'),
]


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_task(tmp_path, 'kitti')


def dataset_of(folder: Path, **options: object) -> VTAB1k:
    return VTAB1k('kitti', folder.parent, pipeline=PIPELINE, **options)


def pixels(dataset: object, workers: int = 0, epochs: int = 1, **options: object) -> torch.Tensor:
    """The images of some epochs in a row, (n, 3, height, width)."""
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=list, **options)
    samples = [sample for _ in range(epochs) for batch in loader for sample in batch]
    return torch.stack([sample['inputs'] for sample in samples])


def delete_images(folder: Path) -> None:
    for path in folder.rglob('images/*/*.*'):
        path.unlink()


@pytest.mark.parametrize(
    ('workers', 'options'), [(0, {}), (2, {}), (2, dict(persistent_workers=True))], ids=str
)
def test_each_image_is_read_once_and_stays_the_same_to_the_last_bit(folder, workers, options):
    expected = pixels(dataset_of(folder, keep_images_mib=0))
    dataset = dataset_of(folder)
    assert torch.equal(pixels(dataset, workers, epochs=2, **options), expected.repeat(2, 1, 1, 1))
    delete_images(folder)
    # Others read them now: new workers, this process, and copies of the dataset.
    assert torch.equal(pixels(dataset, workers, **options), expected)
    assert torch.equal(pixels(dataset), expected)
    assert torch.equal(pixels(copy.deepcopy(dataset)), expected)
    assert torch.equal(pixels(dataset.get_subset([5, 3])), expected[[5, 3]])


@pytest.mark.parametrize(
    'options', [dict(keep_images_mib=0), dict(test_mode=True)], ids=['off', 'test']
)
def test_they_are_read_each_time_where_none_is_kept(folder, options):
    dataset = dataset_of(folder, **options)
    before = pixels(dataset)
    images = folder / 'images' / 'train800'
    (images / '000.png').write_bytes((images / '002.png').read_bytes())
    assert not torch.equal(pixels(dataset), before)


def test_a_step_that_writes_into_its_image_changes_no_other_epoch(folder):
    dataset = dataset_of(folder)
    expected = dataset[0]['inputs'].clone()
    for _ in range(2):
        dataset[0]['inputs'].zero_()
    assert torch.equal(dataset[0]['inputs'], expected)


def test_what_is_said_of_an_image_stays_the_same(folder):
    dataset = dataset_of(folder)
    first, second = dataset[1]['data_samples'], dataset[1]['data_samples']
    assert len(first.all_keys()) > 5
    assert list(first.metainfo_items()) == list(second.metainfo_items())
    assert list(first.items()) == list(second.items())


@pytest.mark.parametrize(
    ('steps', 'number'),
    [
        (PIPELINE, 2),
        ([PIPELINE[0], dict(type='mmpretrain.RandomFlip', prob=0.5), *PIPELINE[1:]], 1),
        ([dict(type='mmpretrain.LoadImageFromFile', color_type='grayscale'), *PIPELINE[1:]], 0),
        ([PIPELINE[0], dict(type='mmpretrain.ResizeEdge', scale=9), PIPELINE[2]], 2),
        ([], 0),
    ],
    ids=['fixed', 'random', 'another loader', 'edge', 'empty'],
)
def test_nothing_random_is_kept(folder, steps, number):
    dataset = VTAB1k('kitti', folder.parent, pipeline=steps)
    assert keeping_pipeline._number_fixed(dataset.pipeline.transforms) == number


def test_another_pipeline_keeps_images_of_its_own(folder):
    dataset = dataset_of(folder)
    assert dataset[0]['inputs'].shape == (3, 8, 8)
    larger = VTAB1k('kitti', folder.parent, pipeline=[PIPELINE[0], PIPELINE[2]])
    dataset.pipeline = larger.pipeline
    for _ in range(2):
        assert dataset[0]['inputs'].shape == (3, 12, 12)


FACTS = {'shape': (3, 4), 'scale': (0.5, 1.5), 'flip': False, 'name': None}


def image_of(value: int, height: int = 512, width: int = 512) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def room_for(*paths: str) -> KeptImages:
    kept = KeptImages(1)
    kept.expect(paths)
    return kept


def test_what_does_not_fit_is_not_kept():
    kept = room_for('a', 'b', 'c')
    kept.keep('a', image_of(1), FACTS)
    kept.keep('b', image_of(2), FACTS)  # as large, and the memory more than half full
    kept.keep('c', image_of(3, 5, 7), {})
    kept.keep('unexpected', image_of(4, 5, 7), {})
    image, facts = kept.find('a')
    assert np.array_equal(image, image_of(1))
    assert facts == FACTS
    assert kept.find('b') is None
    assert np.array_equal(kept.find('c')[0], image_of(3, 5, 7))
    assert kept.find('unexpected') is None


@pytest.mark.parametrize(
    ('image', 'facts'),
    [
        (image_of(1, 2, 2).astype(np.float32), {}),
        (image_of(1, 2, 2), {'scale': (1, np.float64(1))}),
    ],
    ids=['floats', 'other types'],
)
def test_what_would_come_out_as_something_else_is_not_kept(image, facts):
    kept = room_for('a')
    kept.keep('a', image, facts)
    assert kept.find('a') is None


def test_a_lock_that_nobody_gives_back_stops_nobody():
    kept = room_for('a')
    kept._lock.acquire()
    kept.keep('a', image_of(1), {})
    assert kept.find('a') is None


def test_many_images_and_other_processes_are_not_kept():
    kept = room_for(*(str(number) for number in range(MOST_IMAGES + 1)))
    kept.keep('0', image_of(1), {})
    assert kept.find('0') is None
    assert pickle.loads(pickle.dumps(room_for('a'))).limit == 0
