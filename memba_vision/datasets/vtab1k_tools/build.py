"""Build a task in VTAB-1k's folder format from a folder of images by class, or from a csv."""

import csv
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memba_vision.datasets.own_data import CLASSES
from memba_vision.datasets.vtab1k_tools.images import examine_all
from memba_vision.errors import UserError

ENDINGS = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.ppm', '.pgm', '.tif', '.tiff', '.webp')


@dataclass(frozen=True)
class Sizes:
    """How many images go into each split; None for the test split: all that are left."""

    train800: int = 800
    val200: int = 200
    test: int | None = None


def labelled_images(source: Path) -> list[tuple[Path, str]]:
    """Images and the names of their classes, in a fixed order.

    Args:
        source: a folder with one folder of images per class, which may have folders in them; or
            a csv whose lines are ``path,label``, with paths below the csv's folder.

    Raises:
        UserError: there is no such file or folder, a line does not parse, or there is no image.
    """
    if source.is_dir():
        found = _from_folders(source)
    elif source.is_file():
        found = _from_csv(source)
    else:
        raise UserError(f'no folder or csv at {source}')
    if not found:
        raise UserError(
            f'{source} holds no image: expected one folder per class with images '
            f'({", ".join(ENDINGS)}), or a csv with lines "path,label"'
        )
    return found


def _from_folders(source: Path) -> list[tuple[Path, str]]:
    return [
        (path, folder.name)
        for folder in sorted(source.iterdir())
        if folder.is_dir()
        for path in sorted(folder.rglob('*'))
        if path.suffix.lower() in ENDINGS and path.is_file()
    ]


def _from_csv(source: Path) -> list[tuple[Path, str]]:
    found = []
    try:
        with source.open(encoding='utf-8-sig', newline='') as file:
            for row in csv.reader(file):
                if not row or row == ['path', 'label']:
                    continue
                if len(row) != 2 or not all(cell.strip() for cell in row):
                    raise ValueError(f'found {",".join(row)[:80]!r}')
                found.append((source.parent / row[0].strip(), row[1].strip()))
    except (ValueError, csv.Error) as error:
        raise UserError(f'{source}: expected lines "path,label", {error}') from error
    missing = [path for path, _ in found if not path.is_file()]
    if missing:
        raise UserError(
            f'{source} names {len(missing):,} file(s) that do not exist, such as {missing[0]}'
        )
    return found


def class_names(labels: Iterable[str]) -> list[str]:
    """The classes in the order of their numbers: by number where all are numbers, else by name."""
    names = set(labels)
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def build_task(
    folder: Path,
    train: Sequence[tuple[Path, str]],
    sizes: Sizes,
    seed: int,
    test: Sequence[tuple[Path, str]] | None = None,
    jobs: int = 1,
) -> dict[str, int]:
    """Write a task: images, lists, and the names of its classes.

    The images are copied byte by byte, so nothing is lost. Each one is decoded first; one that
    occurs several times is taken once. Classes keep their shares in every split.

    Args:
        folder: the task's folder; must not exist.
        train: images and class names that the training splits are drawn from, and the test split
            too unless ``test`` is given.
        sizes: of the splits.
        seed: of the drawing.
        test: images and class names for the test split.
        jobs: processes that decode.

    Returns:
        The number of images of each split.

    Raises:
        UserError: an image cannot be read, two copies of one image have two labels, there are too
            few images, or the folder exists.
    """
    if folder.exists():
        raise UserError(f'{folder} exists: remove it, or give another --task or --out')
    classes = class_names([label for _, label in [*train, *(test or [])]])
    if not all(name.isprintable() for name in classes):
        raise UserError('the names of the classes must be printable: rename the folders')
    rng = np.random.default_rng(seed)
    test_hashes: set[str] = set()
    if test is not None:
        drawn_test, test_hashes = _readable_once(test, jobs)
        drawn_test = _shuffled(drawn_test, rng)
    rest, _ = _readable_once(train, jobs, test_hashes)
    rest = _shuffled(rest, rng)
    splits = {}
    for name, count in (('train800', sizes.train800), ('val200', sizes.val200)):
        splits[name], rest = rest[:count], rest[count:]
    pool = rest if test is None else drawn_test
    splits['test'] = pool if sizes.test is None else pool[: sizes.test]
    _check_sizes(splits, sizes, classes)
    _write(folder, splits, classes)
    return {name: len(images) for name, images in splits.items()}


def _readable_once(
    images: Sequence[tuple[Path, str]], jobs: int, known: Iterable[str] = ()
) -> tuple[list[tuple[Path, str]], set[str]]:
    facts = examine_all([str(path) for path, _ in images], True, jobs, 'images')
    first: dict[str, tuple[Path, str]] = {}
    known, kept = set(known), []
    for (path, label), (_, fact) in zip(images, facts, strict=True):
        if fact.problem:
            raise UserError(f'{path} cannot be read ({fact.problem}): repair or remove it')
        seen = fact.sha256 in first
        other_path, other = first.setdefault(fact.sha256, (path, label))
        if other != label:
            raise UserError(
                f'{path} is in class {label}, the same image {other_path} in class {other}: '
                'remove one of them'
            )
        if not seen and fact.sha256 not in known:
            kept.append((path, label))
    return kept, set(first)


def _shuffled(images: list[tuple[Path, str]], rng: np.random.Generator) -> list[tuple[Path, str]]:
    """A random order of which every piece holds the classes in about their shares of the whole."""
    images = [images[i] for i in rng.permutation(len(images))]
    sizes, seen, places = Counter(label for _, label in images), Counter(), []
    for _, label in images:
        places.append((seen[label] + rng.random()) / sizes[label])
        seen[label] += 1
    return [images[i] for i in np.argsort(places, kind='stable')]


def _check_sizes(splits: dict[str, list], sizes: Sizes, classes: list[str]) -> None:
    wanted = {'train800': sizes.train800, 'val200': sizes.val200, 'test': sizes.test or 1}
    short = [f'{len(splits[name])} of {count} for {name}' for name, count in wanted.items()
             if len(splits[name]) < count]  # fmt: skip
    if short:
        raise UserError(
            f'too few different images: {", ".join(short)}; add images, or ask for fewer with '
            '--train and --val'
        )
    learnt = {label for _, label in splits['train800']}
    unseen = [name for name in classes if name not in learnt]
    if unseen:
        raise UserError(
            f'train800 would have no image of {len(unseen)} class(es), such as {unseen[0]}: add '
            'images of them, remove the classes, or ask for more with --train'
        )


def _write(folder: Path, splits: dict[str, list[tuple[Path, str]]], classes: list[str]) -> None:
    number_of = {name: number for number, name in enumerate(classes)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.unfinished-', dir=folder.parent) as unfinished:
        whole = Path(unfinished, folder.name)  # of its own: the temporary one is closed to others
        lines = {}
        for split, images in splits.items():
            (whole / 'images' / split).mkdir(parents=True)
            lines[split] = []
            for number, (path, label) in enumerate(images):
                name = f'images/{split}/{number:06d}{path.suffix.lower()}'
                shutil.copyfile(path, whole / name)
                lines[split].append(f'{name} {number_of[label]}\n')
        lines['train800val200'] = lines['train800'] + lines['val200']
        for split, listed in lines.items():
            (whole / f'{split}.txt').write_text(''.join(listed), encoding='utf-8')
        (whole / CLASSES).write_text(''.join(f'{name}\n' for name in classes), encoding='utf-8')
        whole.rename(folder)
