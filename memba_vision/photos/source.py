"""Photos and their classes, from folders, a csv or a dataset of Hugging Face's library."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memba_vision.datasets.vtab1k_tools.folders import (
    entries_beside,
    split_folders,
    split_of_each,
)
from memba_vision.datasets.vtab1k_tools.skipped_entries import SkippedEntry
from memba_vision.datasets.vtab1k_tools.sources import images_of, spelled_alike
from memba_vision.photos.hf_dataset import is_saved_dataset, photos_of_dataset

TRAIN, VAL, TEST = 'train', 'val', 'test'


@dataclass(frozen=True)
class Photo:
    """A photo.

    Attributes:
        path: of its file, absolute.
        label: the name of its class.
        split: the split that its source puts it in, '' where that says nothing.
    """

    path: Path
    label: str
    split: str = ''


def find_photos(source: Path, skipped: list[SkippedEntry], copies: Path) -> list[Photo]:
    """Return the photos of a source, in a fixed order.

    Args:
        source: a folder with one folder per class, or with these in ``train``, ``val`` and
            ``test``; a csv with lines ``path,label``, and ``split`` if it says so; or a folder that
            ``datasets`` has saved.
        skipped: is extended by everything that is not taken.
        copies: folder for the photos of a saved dataset, which has no files of them.

    Raises:
        UserError: there is no such source, no photo in it, or splits that are not clear.
    """
    found = _photos_of(source, skipped, copies)
    labels = spelled_alike(source, [photo.label for photo in found])
    return _named_splits([replace(p, label=name) for p, name in zip(found, labels, strict=True)])


def _photos_of(source: Path, skipped: list[SkippedEntry], copies: Path) -> list[Photo]:
    """Return the photos of a source, with names of classes as they are written there."""
    if is_saved_dataset(source):
        return [Photo(*photo) for photo in photos_of_dataset(source, copies)]
    folders = split_folders(source) if source.is_dir() else {}
    if folders:
        skipped += entries_beside(source, folders.values())
        return [
            Photo(path.absolute(), label, split)
            for split, folder in folders.items()
            for path, label, _ in images_of(folder, skipped)
        ]
    found = images_of(source, skipped)
    splits = _splits_said(source, [split for *_, split in found])
    return [Photo(path.absolute(), label, splits[split]) for path, label, split in found]


def _splits_said(source: Path, written: Sequence[str]) -> dict[str, str]:
    """Return the split of what is written in a csv's column of splits; '' where there is none."""
    names = list(dict.fromkeys(written))
    return split_of_each(source, names) if names != [''] else {'': ''}


def _named_splits(photos: list[Photo]) -> list[Photo]:
    """Take what is called val for the test where there is no test: it was chosen to judge by."""
    splits = {photo.split for photo in photos}
    if TEST in splits:
        return photos
    names = {VAL: TEST} if VAL in splits else {TRAIN: ''}  # of a training alone, all is drawn
    return [replace(photo, split=names.get(photo.split, photo.split)) for photo in photos]
