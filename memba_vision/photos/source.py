"""Photos and their classes, from folders, a csv or a dataset of Hugging Face's library."""

from dataclasses import dataclass
from pathlib import Path

from memba_vision.datasets.vtab1k_tools.folders import entries_beside, split_folders
from memba_vision.datasets.vtab1k_tools.skipped_entries import SkippedEntry
from memba_vision.datasets.vtab1k_tools.sources import labelled_images
from memba_vision.errors import UserError
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
            ``test``; a csv with lines ``path,label``; or a folder that ``datasets`` has saved.
        skipped: is extended by everything that is not taken.
        copies: folder for the photos of a saved dataset, which has no files of them.

    Raises:
        UserError: there is no such source, or no photo in it.
    """
    if is_saved_dataset(source):
        found = photos_of_dataset(source, copies)
        return _named_splits([Photo(*photo) for photo in found])
    folders = split_folders(source) if source.is_dir() else {}
    if not folders:
        return [Photo(path.absolute(), label) for path, label in labelled_images(source, skipped)]
    if TRAIN not in folders:
        raise UserError(
            f'{source} holds {", ".join(f.name for f in folders.values())} and no train: name the '
            'folder of the photos to train on "train"'
        )
    skipped += entries_beside(source, folders.values())
    return _named_splits(
        [
            Photo(path.absolute(), label, split)
            for split, folder in folders.items()
            for path, label in labelled_images(folder, skipped)
        ]
    )


def _named_splits(photos: list[Photo]) -> list[Photo]:
    """Take what is called val for the test where there is no test: it was chosen to judge by."""
    splits = {photo.split for photo in photos}
    if TEST in splits or VAL not in splits:
        # Of a training alone, all is drawn.
        return photos if TEST in splits else [Photo(p.path, p.label) for p in photos]
    names = {VAL: TEST}
    return [Photo(p.path, p.label, names.get(p.split, p.split)) for p in photos]
