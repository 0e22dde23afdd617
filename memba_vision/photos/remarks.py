"""Remarks on photos and their split, for those who read the results."""

from collections import Counter
from collections.abc import Sequence

from memba_vision.datasets.vtab1k_tools.alike import DISTANCES, pairs_of_alike
from memba_vision.datasets.vtab1k_tools.images import ImageFacts, summary
from memba_vision.datasets.vtab1k_tools.skipped_entries import shown
from memba_vision.photos.source import TEST, Photo

FEW = 10  # photos of a class
UNEVEN = 3  # times as many photos in the largest class as in the smallest


def remarks_on(
    examined: Sequence[tuple[Photo, ImageFacts]],
    splits: Sequence[str],
    groups: Sequence[int],
    told_apart: bool,
) -> list[str]:
    """Return sentences on the kinds of photos, near duplicates, and the sizes of classes.

    Args:
        examined: the photos and their facts.
        splits: the split of each.
        groups: the number of each one's group of photos that look alike.
        told_apart: False where looks say nothing.
    """
    photos, facts = [photo for photo, _ in examined], [fact for _, fact in examined]
    alike = sum(count for count in Counter(groups).values() if count > 1)
    remarks = [summary(facts)]
    if alike:
        remarks.append(f'{alike:,} photos that look like others stay with these in one split')
    if not told_apart:
        remarks.append(
            'these photos are so alike that near duplicates cannot be told: if there are any, the '
            'test is easier than new photos will be'
        )
    looks = [fact.look for fact in facts]
    on_classes = [*_on_folders(photos), *_on_classes(photos, splits)]
    return [*remarks, *_on_twins(photos, splits, looks), *on_classes]


def _on_folders(photos: Sequence[Photo]) -> list[str]:
    """Return a remark where all classes have the same folders, which may be the classes meant."""
    inside: dict[str, set[str]] = {}
    for photo in photos:
        above = photo.path.parent.parts
        place = above.index(photo.label) + 1 if photo.label in above else len(above)
        inside.setdefault(photo.label, set()).add(''.join(above[place : place + 1]))
    first = next(iter(inside.values()))
    if len(first) < 2 or '' in first or any(names != first for names in inside.values()):
        return []
    return [
        f'every class ({_some(sorted(inside))}) has the folders {_some(sorted(first))} in it: if '
        'these are the classes, let each be one folder'
    ]


def _on_twins(photos: Sequence[Photo], splits: Sequence[str], looks: Sequence[bytes]) -> list[str]:
    """Return remarks on photos that look alike, in two classes or on both sides of a split."""
    found = pairs_of_alike(looks, DISTANCES[1])
    pairs = [] if found is None else found.tolist()
    in_two_classes = [(a, b) for a, b in pairs if photos[a].label != photos[b].label]
    across = [(a, b) for a, b in pairs if (splits[a] == TEST) != (splits[b] == TEST)]
    texts = {
        'pairs of photos look alike, in two classes': in_two_classes,
        'pairs of a photo of the test and one of the training look alike, which makes the test '
        'easier': across,
    }
    return [
        f'{len(found):,} {text}, such as {shown(photos[a].path)} and {shown(photos[b].path)}'
        for text, found in texts.items()
        for a, b in found[:1]
    ]


def _on_classes(photos: Sequence[Photo], splits: Sequence[str]) -> list[str]:
    """Return remarks on classes that are tiny, and on classes that differ much in size."""
    sizes = Counter(photo.label for photo in photos)
    tested = {photo.label for photo, split in zip(photos, splits, strict=True) if split == TEST}
    few = sorted(label for label, size in sizes.items() if size < FEW)
    untested = sorted(sizes.keys() - tested)
    remarks = []
    if few:
        remarks.append(
            f'{len(few)} of the {len(sizes)} classes have fewer than {FEW} photos ({_some(few)}): '
            'what is measured on them says little'
        )
    if untested:
        remarks.append(
            f'the test has no photo of {len(untested)} of the {len(sizes)} classes: '
            f'{_some(untested)}'
        )
    (most, largest), (least, smallest) = (sizes.most_common()[place] for place in (0, -1))
    if largest > UNEVEN * smallest:
        remarks.append(
            f'classes differ much in size, from {smallest:,} photos of {least} to {largest:,} of '
            f'{most}: a model leans to the large ones, and --balance makes up for it'
        )
    return remarks


def _some(names: Sequence[str]) -> str:
    return ', '.join(map(shown, names[:5])) + (', …' if len(names) > 5 else '')
