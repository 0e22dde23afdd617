"""A task of photos where they lie: which can be used, their split, and lists of them."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memba_vision.datasets.own_data import CLASSES
from memba_vision.datasets.vtab1k_tools.alike import groups_of_alike
from memba_vision.datasets.vtab1k_tools.build import COPY, check_classes
from memba_vision.datasets.vtab1k_tools.images import ImageFacts, examine_all
from memba_vision.datasets.vtab1k_tools.skipped_entries import (
    LEFT_OUT,
    SkippedEntry,
    as_csv,
    as_text,
    shown,
)
from memba_vision.datasets.vtab1k_tools.sources import class_names
from memba_vision.errors import UserError
from memba_vision.files import write_atomically
from memba_vision.photos.remarks import remarks_on
from memba_vision.photos.source import TEST, TRAIN, VAL, Photo, find_photos
from memba_vision.photos.split import SPLITS, split_photos

LISTED = 50  # files that cannot be used, on the console
COPIES = 'photos'  # in the task's folder: photos of a saved dataset

Examined = list[tuple[Photo, ImageFacts]]
Tell = Callable[[str], object]


@dataclass(frozen=True)
class PhotoTask:
    """Photos by split, ready to train on.

    Attributes:
        folder: place of the lists ``train.txt``, ``val.txt`` and ``test.txt``, and of
            ``classes.txt``.
        classes: names of the classes in the order of their labels.
        photos: the photos that are used.
        splits: the split of each.
        hashes: of the content of each one's file.
        pixels: of all photos together, before they are resized.
        remarks: remarks for those who read the results.
        skipped: entries of the source that are not used.
    """

    folder: Path
    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    splits: tuple[str, ...]
    hashes: tuple[str, ...]
    pixels: int
    remarks: tuple[str, ...]
    skipped: tuple[SkippedEntry, ...]

    def counts(self) -> Counter:
        """Return the number of photos by class and split."""
        return Counter(zip((photo.label for photo in self.photos), self.splits, strict=True))

    def of(self, split: str) -> list[Photo]:
        """Return the photos of a split."""
        return [p for p, s in zip(self.photos, self.splits, strict=True) if s == split]

    def digest(self) -> str:
        """Return a hash of the paths, classes and splits; copies may move with the folder."""
        place = self.folder.absolute()
        pairs = zip(self.photos, self.splits, strict=True)
        rows = [(_path_from(place, photo.path), photo.label, split) for photo, split in pairs]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def contents(self) -> str:
        """Return a hash of what is in the photos' files."""
        return hashlib.sha256(''.join(self.hashes).encode()).hexdigest()


def _path_from(folder: Path, path: Path) -> str:
    """Return a path in a folder as it is from there, and any other as it is."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def prepare_task(
    source: Path, folder: Path, seed: int, skip_broken: bool, jobs: int, tell: Tell
) -> PhotoTask:
    """Find and examine the photos of a source, and split them.

    Nothing is written but the photos of a saved dataset, and a long list of unusable files.

    Args:
        source: see :func:`memba_vision.photos.source.find_photos`.
        folder: of the task.
        seed: of the split.
        skip_broken: leave out files that cannot be used.
        jobs: processes that decode.
        tell: called with lines for the user.

    Raises:
        UserError: files cannot be used, and are not to be left out; there is one class alone, or
            there are too few photos.
    """
    skipped: list[SkippedEntry] = []
    try:
        found = find_photos(source, skipped, folder / COPIES)
    finally:  # the skipped files may explain an error
        if skipped:
            tell(as_text(skipped).rstrip())
    check_classes(class_names(p.label for p in found), [p.path for p in found], 'give')
    paths = [str(photo.path) for photo in found]
    facts = [fact for _, fact in examine_all(paths, True, jobs, 'photos')]
    examined = list(zip(found, facts, strict=True))
    bad = _as_named(source, _unusable(examined))
    if bad and not (skip_broken and len(bad) < len(found)):
        raise _cannot_be_used(bad, len(found), folder, tell)
    used, copies, lost = _without(examined, {entry.path.absolute() for entry in bad})
    photos, facts = [photo for photo, _ in used], [fact for _, fact in used]
    if bad:
        tell(as_text(bad).rstrip())
        check_classes(class_names(p.label for p in photos), [p.path for p in photos], 'give')
    groups, told_apart = groups_of_alike([f.look for f in facts], [p.label for p in photos])
    splits = split_photos(photos, groups, seed)
    return PhotoTask(
        folder=folder,
        classes=tuple(class_names(photo.label for photo in photos)),
        photos=tuple(photos),
        splits=tuple(splits),
        hashes=tuple(fact.sha256 for fact in facts),
        pixels=sum(fact.size[0] * fact.size[1] for fact in facts),
        remarks=(*remarks_on(used, splits, groups, told_apart), *lost),
        skipped=(*skipped, *bad, *_as_named(source, copies)),
    )


def write_task(task: PhotoTask) -> None:
    """Write the lists of a task, which name the photos where they lie."""
    number_of = {name: number for number, name in enumerate(task.classes)}
    for split in SPLITS:
        lines = [f'{photo.path} {number_of[photo.label]}\n' for photo in task.of(split)]
        write_atomically(task.folder / f'{split}.txt', ''.join(lines).encode())
    names = ''.join(f'{name}\n' for name in task.classes)
    write_atomically(task.folder / CLASSES, names.encode())
    write_atomically(task.folder / LEFT_OUT, as_csv(task.skipped).encode())


def _unusable(examined: Examined) -> list[SkippedEntry]:
    """Return the files that cannot be used: damaged ones, and one photo in several classes."""
    classes: dict[str, set[str]] = {}
    for photo, fact in examined:
        classes.setdefault(fact.sha256, set()).add(photo.label)
    found = []
    for photo, fact in examined:
        several = sorted(classes[fact.sha256]) if fact.sha256 else []
        reason = fact.problem or _problem_of_name(str(photo.path))
        if not reason and len(several) > 1:
            reason = f'the same photo in the classes {" and ".join(map(shown, several))}'
        if reason:
            found.append(SkippedEntry(photo.path, reason))
    return found


def _as_named(source: Path, entries: Iterable[SkippedEntry]) -> list[SkippedEntry]:
    """Return entries with their paths as the user named the source: from there, or absolute."""
    base = source if source.is_dir() else source.parent
    place = base.absolute()
    return [
        replace(entry, path=base / entry.path.relative_to(place))
        if entry.path.is_relative_to(place)
        else entry
        for entry in entries
    ]


def _problem_of_name(path: str) -> str:
    """Return the reason why a list cannot have a path, '' if there is none."""
    is_text = path.encode(errors='replace') == path.encode(errors='surrogateescape')
    if is_text and path == path.strip() and not {'\n', '\r'}.intersection(path):
        return ''
    return 'its name ends in a blank, or has line breaks or bytes that are no text'


def _cannot_be_used(bad: Sequence[SkippedEntry], total: int, folder: Path, tell: Tell) -> UserError:
    """Tell of all files that cannot be used, and return the error."""
    for entry in bad[:LISTED]:
        tell(f'{shown(entry.path)}: {entry.reason}')
    listed = 'all named above'
    if len(bad) > LISTED:
        write_atomically(folder / LEFT_OUT, as_csv(bad).encode())
        listed = f'all listed in {folder / LEFT_OUT}'
    return UserError(
        f'{len(bad):,} of {total:,} files cannot be used, {listed}: repair or remove them, or give '
        '--skip-broken to go on without them'
    )


def _without(
    examined: Examined, bad: Collection[Path]
) -> tuple[Examined, list[SkippedEntry], list[str]]:
    """Return the photos that are used, the copies of some of them, and remarks on splits.

    Of a photo that is in several splits, the one of the test is used, or else of the validation.
    """
    good = [pair for pair in examined if pair[0].path not in bad]
    first: dict[str, Photo] = {}
    for photo, fact in sorted(good, key=lambda pair: (TEST, VAL, TRAIN, '').index(pair[0].split)):
        first.setdefault(fact.sha256, photo)
    used, copies, lost = [], [], Counter()
    for photo, fact in sorted(good, key=lambda pair: pair[0].split == TRAIN):
        taken = first[fact.sha256]
        if taken is photo:
            used.append((photo, fact))
            continue
        copies.append(SkippedEntry(photo.path, COPY))
        lost[photo.split, taken.split] += photo.split != taken.split
    remarks = [
        f'{count:,} photos of {split} are in {other} as well, and are used there alone'
        for (split, other), count in lost.items()
        if count
    ]
    return used, copies, remarks
