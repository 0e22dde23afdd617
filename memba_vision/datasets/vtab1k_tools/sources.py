"""Images and the names of their classes, from a folder of images by class or from a csv."""

import logging
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmengine.logging import print_log

from memba_vision.datasets.image_formats import FORMATS
from memba_vision.datasets.vtab1k_tools.folders import images_in_folders
from memba_vision.datasets.vtab1k_tools.label_file import images_in_csv
from memba_vision.datasets.vtab1k_tools.skipped_entries import SkippedEntry, shown
from memba_vision.errors import UserError
from memba_vision.file_kinds import TABLES, kind_of, near_paths

Images = list[tuple[Path, str]]  # and the names of their classes


def labelled_images(source: Path, skipped: list[SkippedEntry] | None = None) -> Images:
    """Return images and the names of their classes, in a fixed order.

    Names are taken without blanks around them and in Unicode's composed form (NFC), so that one
    name is one class, whichever system wrote it.

    Args:
        source: a folder with one folder of images per class, which may have folders in them; or
            a csv whose lines are ``path,label``, with paths below the csv's folder.
        skipped: is extended by everything in the folder that is not taken.

    Raises:
        UserError: there is no such file or folder, a line does not parse, there is no image, or a
            csv says which splits its images are for.
    """
    found = images_of(source, [] if skipped is None else skipped)
    splits = sorted({split for *_, split in found})
    if len(splits) > 1:
        raise UserError(
            f'{source} has a column of splits ({", ".join(map(shown, splits[:5]))}), which are '
            'drawn here: give a csv of each, by --from and --test-from, or remove the column'
        )
    labels = spelled_alike(source, [label for _, label, _ in found])
    return [(path, label) for (path, *_), label in zip(found, labels, strict=True)]


def images_of(source: Path, skipped: list[SkippedEntry]) -> list[tuple[Path, str, str]]:
    """Return images, the names of their classes as they are written, and splits.

    The split is what a csv says of it, '' where it says nothing; else see :func:`labelled_images`.
    """
    if source.is_dir():
        found = [(path, label, '') for path, label in images_in_folders(source, skipped)]
    elif source.is_file():
        kind = kind_of(source)
        if kind not in (*TABLES, ''):
            raise UserError(
                f'{source} is {kind}: give the folder that holds one folder of images per class, '
                'or a csv with lines "path,label"'
            )
        found = images_in_csv(source)
    else:
        raise UserError(f'no folder or csv at {source}{near_paths(source)}')
    if not found:
        raise UserError(
            f'{source} holds no image: expected one folder per class with images '
            f'({", ".join(FORMATS)}), or a csv with lines "path,label"'
        )
    return found


def class_names(labels: Iterable[str]) -> list[str]:
    """Return the classes in the order of labels: by number if all are numbers, else by name."""
    names = set(labels)
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def spelled_alike(source: Path, labels: Sequence[str]) -> list[str]:
    """Return labels with one spelling of each class's name, and warn of similar names."""
    written: dict[str, set[str]] = {}
    for label in labels:
        written.setdefault(_class_name(label), set()).add(label)
    for name, forms in written.items():
        if len(forms) > 1:
            _warn(
                f'{source} writes the class {shown(name)} in {len(forms)} ways that look the same '
                '(Unicode forms, blanks): taken as one class'
            )
    small: dict[str, str] = {}
    for name in written:
        other = small.setdefault(name.casefold(), name)
        if other != name:
            _warn(f'{source} has the classes {shown(other)} and {shown(name)}: taken as two')
    return [_class_name(label) for label in labels]


def _class_name(label: str) -> str:
    return unicodedata.normalize('NFC', label.strip())


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)
