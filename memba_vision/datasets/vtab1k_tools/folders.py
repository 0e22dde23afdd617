"""Find the images below one folder per class, and give a reason for every entry left out."""

import re
import stat
import warnings
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from PIL import Image

from memba_vision.datasets.image_formats import (
    AVIF_ENDINGS,
    FORMATS,
    HEIF_ENDINGS,
    IMAGE_ENDINGS,
    IS_HEIF,
)
from memba_vision.datasets.vtab1k_tools.skipped_entries import SkippedEntry, shown
from memba_vision.errors import UserError

#: Endings of image formats that are not read here.
FOREIGN_ENDINGS = (
    *('.jxl', '.jp2', '.svg', '.psd', '.eps', '.ico', '.tga', '.xcf', '.exr', '.hdr'),
    *AVIF_ENDINGS,
)
#: Endings of raw files of cameras. Some have a preview at the place where a TIFF has its image.
RAW_ENDINGS = (
    *('.dng', '.nef', '.nrw', '.cr2', '.cr3', '.arw', '.orf', '.rw2', '.raf', '.pef', '.srw'),
    *('.raw', '.3fr'),
)
#: Folders that operating systems, file servers and notebooks put among the files of their users.
SYSTEM_FOLDERS = ('__MACOSX', '@eaDir', '$RECYCLE.BIN', 'System Volume Information', 'lost+found')
NAMES_LISTED = 5  # of splits, in an error
BUILT = 'train800val200.txt'  # a file that marks the folder of a task

HIDDEN = 'hidden (the name begins with a dot)'
OF_A_SYSTEM = "a system's own folder"
TO_NOTHING = 'a link to nothing'
LOOP = 'a loop of links (or a second way to a folder that was taken)'
A_TASK = 'a task that was built (and no class)'
NO_FILE = 'neither a file nor a folder'
NO_CLASS = 'in no folder of a class'
NO_SPLIT = 'beside the folders of train, val and test'
EMPTY_CLASS = 'a class without an image'
EMPTY = 'an empty folder'
FOREIGN = 'of a format that is not read (convert to PNG or JPEG)'
NO_IMAGE = f'no image ({" ".join(FORMATS)} are read)'

_SPLIT_WORDS = {
    'train': ('train', 'training'),
    'val': ('val', 'valid', 'validation', 'dev'),
    'test': ('test', 'testing', 'eval', 'evaluation'),
}
_SPLIT_NAMES = {word for words in _SPLIT_WORDS.values() for word in words}

Identity = tuple[int, int]  # of a folder on a disk: that of its links too


def images_in_folders(source: Path, skipped: list[SkippedEntry]) -> list[tuple[Path, str]]:
    """Return images and the names of the folders of their classes, sorted by path.

    Links are followed; a folder that links lead to again is left out. An image is known by its
    ending or, with any other ending or none, by its content.

    Args:
        source: a folder with one folder per class, which may have folders in them.
        skipped: is extended by every entry that is not taken.

    Raises:
        UserError: there are train, val and test in the place of classes, or a task that was built.
    """
    if (source / BUILT).is_file():
        raise UserError(
            f'{source} is a task that was built already: train on it, or give the folder of images '
            'that it was built of'
        )
    root, classes, found = _identity(source), [], []
    for entry in sorted(source.iterdir()):
        reason = _reason_to_skip_unseen(entry)
        if not reason and entry.is_dir() and _identity(entry) != root:
            classes.append(entry)
        else:
            reason = reason or (LOOP if entry.is_dir() else NO_CLASS)
            skipped.append(SkippedEntry(entry, reason))
    splits = _splits_among(classes)
    if splits:
        raise _splits_found(source, splits)
    for folder in classes:
        paths = sorted(walk_images(folder, skipped, {root}))
        if not paths:
            skipped.append(SkippedEntry(folder, EMPTY_CLASS))
        found += [(path, folder.name) for path in paths]
    return found


def format_of(path: Path) -> str:
    """Return Pillow's name of a file's format, by its content; '' if it is no image of FORMATS."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # a warning of its size comes when it is decoded
            with Image.open(path, formats=FORMATS) as image:
                return image.format
    except PermissionError:
        raise
    except Image.DecompressionBombError:
        return 'too large'
    except Exception:  # Pillow's readers raise nearly anything on what they do not know
        return ''


def walk_images(
    folder: Path, skipped: list[SkippedEntry], taken: Collection[Identity] = ()
) -> Iterator[Path]:
    """Yield the images in a folder and its subfolders, in no order.

    Args:
        folder: an existing folder.
        skipped: is extended by every entry that is not taken.
        taken: folders that were visited already, to which links are not followed.
    """
    seen, folders, links = set(taken), [folder], deque()
    while folders or links:  # a folder is taken where it lies rather than where a link leads to it
        at = folders.pop() if folders else links.popleft()
        if _identity(at) in seen:
            skipped.append(SkippedEntry(at, LOOP))
            continue
        seen.add(_identity(at))
        for entry in sorted(at.iterdir()):
            reason = reason_to_skip(entry)
            if reason:
                skipped.append(SkippedEntry(entry, reason))
            elif entry.is_dir():
                (links if entry.is_symlink() else folders).append(entry)
            else:
                yield entry


def reason_to_skip(entry: Path) -> str:
    """Return the reason to skip an entry; '' for an image, and for a folder that may hold some."""
    return _reason_to_skip_unseen(entry) or _reason_for_no_image(entry)


def _reason_to_skip_unseen(entry: Path) -> str:
    """Return the reason to skip a file or folder unseen; '' if there is none."""
    if entry.name.startswith('.'):
        return HIDDEN
    if entry.name in SYSTEM_FOLDERS:
        return OF_A_SYSTEM
    try:
        mode = entry.stat().st_mode
    except PermissionError:
        raise
    except OSError:
        return TO_NOTHING
    if stat.S_ISDIR(mode):
        return A_TASK if (entry / BUILT).is_file() else ''
    return '' if stat.S_ISREG(mode) else NO_FILE


def _reason_for_no_image(entry: Path) -> str:
    """Return the reason to expect no image in a file or folder; '' if there may be one."""
    if entry.is_dir():
        return '' if any(entry.iterdir()) else EMPTY
    ending = entry.suffix.lower()
    if ending in IMAGE_ENDINGS or (ending not in RAW_ENDINGS and format_of(entry)):
        return ''
    if ending in HEIF_ENDINGS:
        return IS_HEIF
    return FOREIGN if ending in FOREIGN_ENDINGS + RAW_ENDINGS else NO_IMAGE


def _identity(folder: Path) -> Identity:
    status = folder.stat()
    return status.st_dev, status.st_ino


def split_folders(source: Path) -> dict[str, Path]:
    """Return the folders 'train', 'val' and 'test' that a folder has in the place of classes.

    An empty dict: it has classes.

    Raises:
        UserError: see :func:`split_of_each`.
    """
    folders = [f for f in _visible_folders(source) if f.name not in SYSTEM_FOLDERS]
    splits = _splits_among(folders)
    if splits:
        split_of_each(source, [f.name for f in folders if splits_named(f.name)])
    return splits


def entries_beside(source: Path, splits: Collection[Path]) -> list[SkippedEntry]:
    """Return what a folder holds beside the folders of its splits."""
    return [
        SkippedEntry(entry, _reason_to_skip_unseen(entry) or NO_SPLIT)
        for entry in sorted(source.iterdir())
        if entry not in splits
    ]


def splits_named(name: str) -> list[str]:
    """Return those of 'train', 'val' and 'test' that a name says: ``seg_train``, ``Train2017``."""
    words = set(re.findall('[a-z]+', name.casefold()))
    return [split for split, known in _SPLIT_WORDS.items() if words.intersection(known)]


def split_of_each(source: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the split that each of several names says; '' for a single name that says none.

    Args:
        source: for the errors.
        names: different names of what holds the photos of a split.

    Raises:
        UserError: a name says no split or several, two say the same, or none says train.
    """
    said = {name: splits_named(name) for name in names}
    unclear = [name for name, splits in said.items() if len(splits) != 1]
    if unclear and len(said) == 1:
        return dict.fromkeys(said, '')
    listed = ', '.join(shown(name) for name in names[:NAMES_LISTED])
    listed += ', …' * (len(names) > NAMES_LISTED)
    if unclear:
        raise UserError(
            f'{source} has the splits {listed}, and {shown(unclear[0]) or "an empty name"} does '
            'not say whether it is for the training, the validation or the test: name it train, '
            'val or test, or leave it out'
        )
    for split in _SPLIT_WORDS:
        alike = [shown(name) for name, splits in said.items() if splits == [split]]
        if len(alike) > 1:
            raise UserError(
                f'{source} holds {" and ".join(alike)}, all named after the split {split}: move '
                'their photos into one'
            )
    if ['train'] not in said.values():
        raise UserError(
            f'{source} holds {listed} and no train: name the split of the photos to train on '
            '"train"'
        )
    return {name: split for name, (split,) in said.items()}


def _splits_among(folders: Sequence[Path]) -> dict[str, Path]:
    splits = {
        kind: folder
        for kind in _SPLIT_WORDS
        for folder in folders
        if kind in splits_named(folder.name)
    }
    inner = [{f.name for f in _visible_folders(folder)} for folder in set(splits.values())]
    named_alike = len(inner) > 1 and set.intersection(*inner)
    all_named = all(folder.name.casefold() in _SPLIT_NAMES for folder in folders)
    return splits if named_alike or all_named else {}


def _splits_found(source: Path, splits: dict[str, Path]) -> UserError:
    names = ' and '.join(f'{shown(folder.name)}/' for folder in splits.values())
    first = splits.get('train', next(iter(splits.values())))
    rest = [folder for kind in ('test', 'val') if (folder := splits.get(kind, first)) != first]
    advice = f'give --from {first}' + ''.join(f' --test-from {folder}' for folder in rest[:1])
    if rest[1:]:
        advice += (
            f', with the images of {rest[1].name}/ moved into it: those to choose settings with '
            'are drawn from --from'
        )
    return UserError(f'{source} holds {names} in the place of classes: {advice}')


def _visible_folders(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.iterdir()) if f.is_dir() and not f.name.startswith('.')]
