"""Splits keep the shares of classes, and photos that look alike together."""

from collections import Counter
from pathlib import Path

import pytest

from memba_vision.errors import UserError
from memba_vision.photos.source import TEST, TRAIN, VAL, Photo
from memba_vision.photos.split import split_photos


def photos_of(counts: dict[str, int], split: str = '') -> list[Photo]:
    return [
        Photo(Path(f'/{split}/{label}/{number}.jpg'), label, split)
        for label, count in counts.items()
        for number in range(count)
    ]


def counted(photos: list[Photo], splits: list[str]) -> dict[str, list[int]]:
    counts = Counter(zip((photo.label for photo in photos), splits, strict=True))
    labels = dict.fromkeys(photo.label for photo in photos)
    return {label: [counts[label, split] for split in (TRAIN, VAL, TEST)] for label in labels}


@pytest.mark.parametrize(
    ('size', 'expected'),
    [
        (1, [1, 0, 0]),
        (2, [1, 0, 1]),
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        (5, [3, 1, 1]),
        (6, [4, 1, 1]),
        (10, [6, 2, 2]),
        (40, [24, 8, 8]),
        (1000, [600, 200, 200]),
    ],
)
def test_shares_of_a_class(size, expected):
    photos = photos_of({'a': size, 'b': 10})
    found = counted(photos, split_photos(photos, range(len(photos)), 0))
    assert found == {'a': expected, 'b': [6, 2, 2]}


def test_a_split_is_that_of_its_seed():
    photos = photos_of({'a': 20, 'b': 20})
    first, again, other = (split_photos(photos, range(40), seed) for seed in (0, 0, 1))
    assert first == again != other
    assert counted(photos, first) == counted(photos, other)


@pytest.mark.parametrize('seed', range(5))
def test_photos_that_look_alike_stay_together(seed):
    photos = photos_of({'a': 30, 'b': 30})
    groups = [number // 3 for number in range(60)]  # the groups of both classes end at 30
    splits = split_photos(photos, groups, seed)
    assert all(len(set(splits[i : i + 3])) == 1 for i in range(0, 60, 3))
    assert counted(photos, splits) == {'a': [18, 6, 6], 'b': [18, 6, 6]}


def test_splits_that_the_source_gives_are_kept():
    train, test = photos_of({'a': 10, 'b': 10}, TRAIN), photos_of({'a': 3, 'b': 4}, TEST)
    photos = train + test
    splits = split_photos(photos, range(len(photos)), 0)
    assert splits[20:] == [TEST] * 7
    assert counted(train, splits[:20]) == {'a': [8, 2, 0], 'b': [8, 2, 0]}
    photos += photos_of({'a': 1}, VAL)
    assert split_photos(photos, range(len(photos)), 0) == [photo.split for photo in photos]


@pytest.mark.parametrize(
    ('photos', 'message'),
    [
        (photos_of({'a': 2, 'b': 2}), 'leave none for val'),
        (photos_of({'a': 1, 'b': 1}), 'leave none for val and test'),
        (photos_of({'a': 5}, TRAIN) + photos_of({'b': 2}, TEST), 'train on in 1 class.*such as b'),
        (
            [p for s in (TRAIN, VAL, TEST) for p in photos_of({'a': 5, 'b': 2 * (s != TRAIN)}, s)],
            'train on in 1 class.*such as b',
        ),
        (photos_of({'a': 5}, VAL) + photos_of({'a': 2, 'b': 2}, TEST), 'leave none for train'),
    ],
)
def test_too_few_photos(photos, message):
    with pytest.raises(UserError, match=message):
        split_photos(photos, range(len(photos)), 0)
