"""Split of photos into those to train on, to choose an epoch by, and to test on."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from memba_vision.errors import UserError
from memba_vision.photos.source import TEST, TRAIN, VAL, Photo

SPLITS = (TRAIN, VAL, TEST)
SHARE = 0.2  # of the test, and of the validation


def split_photos(photos: Sequence[Photo], groups: Sequence[int], seed: int) -> list[str]:
    """Return the split of each photo: 60 % to train, 20 % to validate and 20 % to test.

    Each class keeps these shares as nearly as it can; of two photos one is for the test, of three
    another one for the validation. Photos of a group stay together. A split that the source gives
    is kept, and a missing validation is drawn out of its training.

    Args:
        photos: the photos, whose sources give all of them a split or none.
        groups: the number of each photo's group.
        seed: of the drawing.

    Raises:
        UserError: a split would have no photo, or the training none of a class.
    """
    given = [photo.split for photo in photos]
    labels = [photo.label for photo in photos]
    if TEST in given and VAL in given:
        _check(given, labels)
        return given
    places = defaultdict(list)
    for place, group in enumerate(groups):
        if given[place] in ('', TRAIN):
            places[group].append(place)
    drawn = (TRAIN, VAL) if TEST in given else SPLITS
    split = _draw(list(places.values()), labels, drawn, np.random.default_rng(seed))
    chosen = [split.get(place, given[place]) for place in range(len(photos))]
    _check(chosen, labels)
    return chosen


def _draw(
    groups: list[list[int]], labels: Sequence[str], splits: Sequence[str], rng: np.random.Generator
) -> dict[int, str]:
    """Put each group where its classes lack most photos, the large groups first."""
    sizes = Counter(labels[place] for group in groups for place in group)
    lacking = {label: _wanted(size, splits) for label, size in sizes.items()}
    order = [groups[i] for i in rng.permutation(len(groups))]
    chosen = {}
    for group in sorted(order, key=len, reverse=True):
        inside = Counter(labels[place] for place in group)
        lack = {s: sum(lacking[label][s] * n for label, n in inside.items()) for s in splits}
        # Of equals the test, which a class can spare least, after the training.
        best = max(splits, key=lambda split: (round(lack[split], 9), split == TRAIN, split == TEST))
        chosen.update(dict.fromkeys(group, best))
        for label, count in inside.items():
            lacking[label][best] -= count
    return chosen


def _wanted(size: int, splits: Sequence[str]) -> dict[str, float]:
    wanted = {
        TEST: max(1, SHARE * size) if size > 1 else 0,
        VAL: max(1, SHARE * size) if size > 2 or (size > 1 and TEST not in splits) else 0,
    }
    wanted = {split: wanted[split] for split in splits if split != TRAIN}
    return {TRAIN: size - sum(wanted.values()), **wanted}


def _check(chosen: Sequence[str], labels: Sequence[str]) -> None:
    counts = Counter(chosen)
    empty = [split for split in SPLITS if not counts[split]]
    if empty:
        raise UserError(
            f'{len(chosen)} photo(s) of {len(set(labels))} classes leave none for '
            f'{" and ".join(empty)}: three photos of one class that do not look alike are the '
            'least, and twenty of each a beginning'
        )
    learnt = {label for label, split in zip(labels, chosen, strict=True) if split == TRAIN}
    unseen = sorted(set(labels) - learnt)
    if unseen:
        raise UserError(
            f'no photo to train on in {len(unseen)} class(es), such as {unseen[0]}: add some, or '
            'remove the class'
        )
