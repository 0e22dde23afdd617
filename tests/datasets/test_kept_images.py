"""Images that are kept in memory: the same bits, read once, in every process that loads data."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_task
from torch.utils.data import DataLoader

from memba_vision.datasets.kept_images import MEBIBYTE, MOST_IMAGES, KeptImages
from memba_vision.datasets.vtab1k import VTAB1k

PIPELINE = [
    dict(type='mmpretrain.LoadImageFromFile'),
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


def test_a_transform_that_writes_into_its_image_changes_no_other_epoch(folder):
    dataset = dataset_of(folder)
    first = dataset.pipeline.transforms[0]
    info = dataset.get_data_info(0)
    image = first(dict(info))['img']
    expected = image.copy()
    image[:] = 0
    assert np.array_equal(first(dict(info))['img'], expected)


def image_of(value: int, height: int = 512, width: int = 512) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_what_does_not_fit_is_not_kept():
    kept = KeptImages(1)
    kept.expect(['a', 'b', 'c'])
    kept.keep('a', image_of(1))
    kept.keep('b', image_of(2))  # as large, and the memory more than half full
    kept.keep('c', image_of(3, 5, 7))
    kept.keep('unexpected', image_of(4, 5, 7))
    assert np.array_equal(kept.find('a'), image_of(1))
    assert kept.find('b') is None
    assert np.array_equal(kept.find('c'), image_of(3, 5, 7))
    assert kept.find('unexpected') is None


def test_a_lock_that_nobody_gives_back_stops_nobody():
    kept = KeptImages(1)
    kept.expect(['a'])
    kept._lock.acquire()
    kept.keep('a', image_of(1))
    assert kept.find('a') is None


def test_many_images_and_other_processes_are_not_kept():
    kept = KeptImages(1)
    kept.expect([str(number) for number in range(MOST_IMAGES + 1)])
    kept.keep('0', image_of(1))
    assert kept.find('0') is None
    kept.expect(['a'])
    assert pickle.loads(pickle.dumps(kept)).limit == 0
    assert kept.limit == MEBIBYTE
