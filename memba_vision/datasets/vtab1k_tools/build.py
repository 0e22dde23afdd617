"""Build a task in VTAB-1k's folder format from images and the names of their classes."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memba_vision.datasets.image_formats import IMAGE_ENDINGS
from memba_vision.datasets.own_data import CLASSES, read_classes
from memba_vision.datasets.tasks import SPLIT_SIZES
from memba_vision.datasets.vtab1k import read_list_file
from memba_vision.datasets.vtab1k_tools.folders import format_of
from memba_vision.datasets.vtab1k_tools.images import ImageFacts, examine_all
from memba_vision.datasets.vtab1k_tools.skipped_entries import LEFT_OUT, SkippedEntry, as_csv, shown
from memba_vision.datasets.vtab1k_tools.sources import Images, class_names
from memba_vision.errors import UserError
from memba_vision.files import check_output_path, unfinished_folder

#: The endings of copies of files whose own is none of an image.
ENDING_OF = {'JPEG': '.jpg', 'MPO': '.jpg', 'TIFF': '.tif'}
COPY = 'a copy of an image that is taken'
IN_THE_TEST = 'in the test images as well'
NOT_DRAWN = 'not drawn (more than --train --val --test ask for)'


@dataclass(frozen=True)
class Sizes:
    """Numbers of images of the splits; None for the test split stands for all that are left.

    Raises:
        UserError: a number is below 1.
    """

    train800: int = SPLIT_SIZES['train800']
    val200: int = SPLIT_SIZES['val200']
    test: int | None = None

    def __post_init__(self) -> None:
        for option, size in zip(('--train', '--val', '--test'), vars(self).values(), strict=True):
            if size is not None and size < 1:
                raise UserError(
                    f'{option} {size}: expected 1 or more (training takes the images of '
                    'train800 and of val200, unless a config says otherwise)'
                )


def build_task(
    folder: Path,
    train: Sequence[tuple[Path, str]],
    sizes: Sizes,
    seed: int,
    test: Sequence[tuple[Path, str]] | None = None,
    jobs: int = 1,
    skipped: list[SkippedEntry] | None = None,
) -> dict[str, int]:
    """Write a task: images, lists, the names of its classes, and what was left out.

    The images are copied byte by byte, so nothing is lost. Each one is decoded first; one that
    occurs several times is taken once. Classes keep their shares in every split.

    Args:
        folder: the task's folder; must not exist.
        train: images and class names that the training splits are drawn from, and the test split
            too unless ``test`` is given.
        sizes: of the splits.
        seed: of the drawing, 0 or more.
        test: images and class names for the test split.
        jobs: processes that decode.
        skipped: the entries of the sources that were skipped; is extended by copies, and by images
            that are not drawn.

    Returns:
        The number of images of each split.

    Raises:
        UserError: an image cannot be read, two copies of one image have two labels, there are too
            few images or classes, or the folder exists.
    """
    skipped = [] if skipped is None else skipped
    classes = class_names([label for _, label in [*train, *(test or [])]])
    _check_place(folder)
    check_classes(classes, [path for path, _ in train], 'give --from')
    if seed < 0:
        raise UserError(f'--seed {seed}: expected 0 or more')
    rng = np.random.default_rng(seed)
    test_copies: dict[str, tuple[Path, str]] = {}
    if test is not None:
        drawn_test, test_copies = _deduplicated(test, jobs, skipped, {})
        drawn_test = _stratified_shuffle(drawn_test, rng)
    rest, _ = _deduplicated(train, jobs, skipped, test_copies)
    rest = _stratified_shuffle(rest, rng)
    splits = {}
    for name, count in (('train800', sizes.train800), ('val200', sizes.val200)):
        splits[name], rest = rest[:count], rest[count:]
    pool, not_drawn = (rest, []) if test is None else (drawn_test, rest)
    splits['test'] = pool[: sizes.test]
    not_drawn = [*not_drawn, *pool[len(splits['test']) :]]
    _check_sizes(splits, sizes, classes)
    skipped += [SkippedEntry(path, NOT_DRAWN) for path in sorted(path for path, _ in not_drawn)]
    _write(folder, splits, classes, skipped)
    return {name: len(images) for name, images in splits.items()}


def _check_place(folder: Path) -> None:
    if folder.exists():
        raise UserError(f'{folder} exists: remove it, or give another --task or --out')
    check_output_path(folder)


def check_classes(classes: Sequence[str], images: Sequence[Path], advice: str) -> None:
    """Check the names of classes.

    Args:
        classes: their names.
        images: all images.
        advice: the beginning of an advice that ends with a folder.

    Raises:
        UserError: there is one class alone, or a name cannot be printed.
    """
    unprintable = [name for name in classes if not (name and name.isprintable())]
    if unprintable:
        raise UserError(
            f'the names of the classes must be printable, found "{shown(unprintable[0])}": rename '
            'the folders or labels'
        )
    if len(classes) < 2:
        raise UserError(
            f'there is one class alone, {classes[0]}, and a task needs two or more: '
            + _where_classes_may_be(images, advice)
        )


def _where_classes_may_be(images: Sequence[Path], advice: str) -> str:
    folders = [image.absolute().parent for image in images]
    around = Path(os.path.commonpath(folders))
    inner = sorted({f.relative_to(around).parts[0] for f in folders if f != around})
    if len(inner) < 2:
        return 'give a folder with one folder per class, or a csv of several labels'
    return f'if the folders {", ".join(map(shown, inner[:3]))}, … are classes, {advice} {around}'


def _deduplicated(
    images: Sequence[tuple[Path, str]],
    jobs: int,
    skipped: list[SkippedEntry],
    test: Mapping[str, tuple[Path, str]],
) -> tuple[Images, dict[str, tuple[Path, str]]]:
    """Return the images without duplicates and those of ``test``, and a table of them by hash."""
    facts = [fact for _, fact in examine_all([str(p) for p, _ in images], True, jobs, 'images')]
    _check_that_all_are_read([path for path, _ in images], facts)
    first: dict[str, tuple[Path, str]] = {}
    kept = []
    for (path, label), fact in zip(images, facts, strict=True):
        before = test.get(fact.sha256) or first.get(fact.sha256)
        if before is None:
            first[fact.sha256] = (path, label)
            kept.append((path, label))
        elif before[1] == label:
            skipped.append(SkippedEntry(path, IN_THE_TEST if fact.sha256 in test else COPY))
        else:
            raise UserError(
                f'{path} is in class {label}, the same image {before[0]} in class {before[1]}: '
                'remove one of them'
            )
    return kept, first


def _check_that_all_are_read(paths: Sequence[Path], facts: Sequence[ImageFacts]) -> None:
    bad = [(path, fact.problem) for path, fact in zip(paths, facts, strict=True) if fact.problem]
    if bad:
        (path, problem), others = bad[0], len(bad) - 1
        more = f', and {others:,} more' if others else ''
        raise UserError(f'{path} cannot be read ({problem}){more}: repair or remove it')


def _stratified_shuffle(
    images: list[tuple[Path, str]], rng: np.random.Generator
) -> list[tuple[Path, str]]:
    """Shuffle so that every part of the order holds the classes in about their overall shares."""
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


def _write(
    folder: Path, splits: dict[str, Images], classes: list[str], skipped: Sequence[SkippedEntry]
) -> None:
    number_of = {name: number for number, name in enumerate(classes)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(folder.parent) as unfinished:
        whole = unfinished / folder.name  # of its own: the temporary one is closed to others
        lines = {}
        for split, images in splits.items():
            (whole / 'images' / split).mkdir(parents=True)
            lines[split] = []
            for number, (path, label) in enumerate(images):
                name = f'images/{split}/{number:06d}{_ending(path)}'
                shutil.copyfile(path, whole / name)
                lines[split].append(f'{name} {number_of[label]}\n')
        lines['train800val200'] = lines['train800'] + lines['val200']
        for split, listed in lines.items():
            (whole / f'{split}.txt').write_text(''.join(listed), encoding='utf-8')
        (whole / CLASSES).write_text(''.join(f'{name}\n' for name in classes), encoding='utf-8')
        if skipped:
            (whole / LEFT_OUT).write_text(as_csv(skipped), encoding='utf-8')
        whole.rename(folder)


def _ending(path: Path) -> str:
    """Return an image's ending, or that of its format where it has another, or none."""
    ending = path.suffix.lower()
    kind = '' if ending in IMAGE_ENDINGS else format_of(path)
    return ENDING_OF.get(kind, f'.{kind.lower()}') if kind else ending


def count_images(folder: Path) -> list[list[str]]:
    """Count the images of each class in each split of a task that was built.

    Returns:
        Rows of cells: a header, a row per class, and the sums with the number of classes.
    """
    classes = read_classes(folder)
    counts = [
        Counter(label for _, label in read_list_file(folder / f'{split}.txt', len(classes)))
        for split in ('train800', 'val200', 'test')
    ]
    rows = [[count[number] for count in counts] for number in range(len(classes))]
    sums = [sum(column) for column in zip(*rows, strict=True)]
    named = zip([*classes, f'{len(classes):,} classes'], [*rows, sums], strict=True)
    table = [[name, *(f'{n:,}' for n in [*row, sum(row)])] for name, row in named]
    return [['class', 'train800', 'val200', 'test', 'together'], *table]
