"""What a folder of images by class holds: each entry is taken, or listed with its reason."""

import csv
import io
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memba_vision.datasets.image_formats import FORMATS
from memba_vision.datasets.vtab1k_tools import folders
from memba_vision.datasets.vtab1k_tools.build import (
    COPY,
    NOT_DRAWN,
    Sizes,
    build_task,
)
from memba_vision.datasets.vtab1k_tools.skipped_entries import (
    LEFT_OUT,
    SkippedEntry,
    as_csv,
    as_text,
)
from memba_vision.datasets.vtab1k_tools.sources import labelled_images
from memba_vision.errors import UserError


def picture(path: Path, seed: int = 0, format: str = 'PNG') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(pixels).save(path, format)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of one image each."""
    for number, name in enumerate(('daisy', 'rose')):
        picture(tmp_path / f'photos/{name}/1.png', number)
    return tmp_path / 'photos'


def look(photos: Path) -> tuple[set[str], dict[str, str]]:
    """The names of the images, and the reasons by the names of what was left out."""
    skipped: list[SkippedEntry] = []
    images = labelled_images(photos, skipped)
    reasons = {os.path.relpath(entry.path, photos): entry.reason for entry in skipped}
    assert len(reasons) == len(skipped)
    return {os.path.relpath(path, photos) for path, _ in images}, reasons


WHOLE = {'daisy/1.png', 'rose/1.png'}


@pytest.mark.parametrize('format', FORMATS)
@pytest.mark.parametrize(
    'name', ['x', 'x.', 'x.jfif', 'x.JPE', 'x.TIF', 'x.jpg.part', 'x.dat', 'x.HEIC']
)
def test_images_of_any_ending_are_taken(photos, name, format):
    picture(photos / 'rose' / name, 2, format)
    assert look(photos) == (WHOLE | {f'rose/{name}'}, {})


def test_an_image_that_is_too_large_is_no_text(photos):
    (photos / 'rose/x').write_bytes(b'P5 20000 20000 255\n')
    assert 'rose/x' in look(photos)[0]


def text(path):
    path.write_text('no image')


def pixel_map_in_words(path):
    path.write_text('P6 is a postcode, BM a street')


def nothing(path):
    path.touch()


def image(path):
    picture(path, 2)


def small_picture(path):
    picture(path, 2, 'TIFF')


def folder_of_an_image(path):
    picture(path / '2.png', 2)


def folder_of_a_text(path):
    path.mkdir()
    (path / 'notes.txt').touch()


def built_task(path):
    folder_of_an_image(path)
    (path / 'train800val200.txt').write_text('2.png 0\n')


def link_to_nothing(path):
    path.symlink_to('nowhere')


def link_to_itself(path):
    path.symlink_to(path.name)


def link_to_the_class(path):
    path.symlink_to('.')


def link_to_the_source(path):
    path.symlink_to('..')


LEFT = [
    (text, 'notes.txt', folders.NO_IMAGE),
    (text, 'notes', folders.NO_IMAGE),
    (pixel_map_in_words, 'notes', folders.NO_IMAGE),
    (nothing, 'empty.dat', folders.NO_IMAGE),
    (text, 'IMG_1.JXL', folders.FOREIGN),
    (text, 'a.svg', folders.FOREIGN),
    (small_picture, 'IMG_1.NEF', folders.FOREIGN),
    (image, '.hidden.png', folders.HIDDEN),
    (text, '.DS_Store', folders.HIDDEN),
    (folder_of_an_image, '.ipynb_checkpoints', folders.HIDDEN),
    (folder_of_an_image, '@eaDir', folders.OF_A_SYSTEM),
    (folder_of_an_image, '__MACOSX', folders.OF_A_SYSTEM),
    (built_task, 'old', folders.A_TASK),
    (Path.mkdir, 'empty', folders.EMPTY),
    (os.mkfifo, 'pipe.png', folders.NO_FILE),
    (link_to_nothing, 'x.png', folders.TO_NOTHING),
    (link_to_itself, 'x.png', folders.TO_NOTHING),
    (link_to_the_class, 'x', folders.LOOP),
    (link_to_the_source, 'x', folders.LOOP),
]


@pytest.mark.parametrize(('make', 'name', 'reason'), LEFT, ids=lambda v: getattr(v, '__name__', v))
def test_what_is_left_out_of_a_class(photos, make: Callable, name, reason):
    make(photos / 'rose' / name)
    assert look(photos) == (WHOLE, {f'rose/{name}': reason})


@pytest.mark.parametrize(
    ('make', 'name', 'expected'),
    [
        (text, 'labels.txt', {'labels.txt': folders.NO_CLASS}),
        (image, 'stray.png', {'stray.png': folders.NO_CLASS}),
        (folder_of_an_image, '.ipynb_checkpoints', {'.ipynb_checkpoints': folders.HIDDEN}),
        (folder_of_an_image, '__MACOSX', {'__MACOSX': folders.OF_A_SYSTEM}),
        (built_task, 'flowers', {'flowers': folders.A_TASK}),
        (link_to_nothing, 'x', {'x': folders.TO_NOTHING}),
        (link_to_the_class, 'all', {'all': folders.LOOP}),
        (
            folder_of_a_text,
            'tulip',
            {'tulip/notes.txt': folders.NO_IMAGE, 'tulip': folders.EMPTY_CLASS},
        ),
        (Path.mkdir, 'empty', {'empty': folders.EMPTY_CLASS}),
    ],
)
def test_what_is_left_out_beside_the_classes(photos, make: Callable, name, expected):
    make(photos / name)
    assert look(photos) == (WHOLE, expected)


def test_links_are_followed_out_of_the_tree(photos, tmp_path):
    picture(tmp_path / 'store/part/2.png', 2)
    picture(tmp_path / 'store/3.png', 3)
    (photos / 'rose/part2').symlink_to('../../store')
    (photos / 'rose/4.png').symlink_to('../../store/3.png')
    (photos / 'tulip').symlink_to(tmp_path / 'store')
    assert look(photos) == (
        WHOLE
        | {'rose/part2/part/2.png', 'rose/part2/3.png', 'rose/4.png'}
        | {'tulip/part/2.png', 'tulip/3.png'},
        {},
    )


def test_folders_that_all_link_to_each_other_take_no_longer_than_their_number(photos):
    names = [f'{number:02d}' for number in range(12)]
    for name in names:
        picture(photos / 'rose' / name / 'x.png')
        for other in names:
            (photos / 'rose' / name / f'to{other}').symlink_to(f'../{other}')
    images, reasons = look(photos)
    assert len(images) == 2 + 12
    assert len(reasons) == 12 * 12
    assert set(reasons.values()) == {folders.LOOP}


# Folders of something else in the place of classes


@pytest.mark.parametrize(
    ('names', 'advice'),
    [
        (('train', 'test'), '--from {0}/train --test-from {0}/test'),
        (('train', 'val'), '--from {0}/train --test-from {0}/val'),
        (('Training', 'Testing'), '--from {0}/Training --test-from {0}/Testing'),
        (('seg_train', 'seg_test'), '--from {0}/seg_train --test-from {0}/seg_test'),
        (
            ('train', 'val', 'test'),
            '--from {0}/train --test-from {0}/test, with the images of val/ moved into it',
        ),
        (('train', 'validation', 'annotations'), '--from {0}/train --test-from {0}/validation'),
        (('train',), '--from {0}/train'),
    ],
)
def test_splits_in_the_place_of_classes(tmp_path, names, advice):
    for number, name in enumerate(names):
        for label in ('cat', 'dog') if name != 'annotations' else ():
            picture(tmp_path / name / label / f'{number}.png', number)
        (tmp_path / name).mkdir(exist_ok=True)
    with pytest.raises(UserError) as error:
        labelled_images(tmp_path)
    assert 'in the place of classes' in str(error.value)
    assert advice.format(tmp_path) in str(error.value)


def test_splits_without_classes_in_them(tmp_path):
    for name in ('train', 'test'):
        picture(tmp_path / name / 'x.png')
    with pytest.raises(UserError, match='train/ and test/ in the place of classes'):
        labelled_images(tmp_path)


@pytest.mark.parametrize('names', [('train', 'car', 'bus'), ('train', 'test tube', 'car')])
def test_a_train_may_be_a_class(tmp_path, names):
    for number, name in enumerate(names):
        picture(tmp_path / name / 'x.png', number)
    assert {label for _, label in labelled_images(tmp_path)} == set(names)


def test_a_task_in_the_place_of_images(photos):
    built_task(photos / 'flowers')
    with pytest.raises(UserError, match='flowers is a task that was built already'):
        labelled_images(photos / 'flowers')


# Everything at once

NAMES = [
    'a',
    'b.png',
    'c d.JPG',
    'é.txt',
    'line\nbreak.png',
    'tab\t.dat',
    'g.jfif',
    '.h.png',
    'i.j',
]
NAMES += [os.fsdecode(b'caf\xe9.png'), os.fsdecode(b'\xff'), '__MACOSX', '@eaDir', 'k.heic', ' l ']


ABOVE = ['.', '..', '../..', '../../..']  # all within the tree


def random_tree(folder: Path, rng: random.Random, depth: int = 0) -> None:
    folder.mkdir()
    for name in rng.sample(NAMES, rng.randrange(7)):
        path = folder / name
        kind = rng.choice(['image', 'image', 'text', 'folder', 'folder', 'link', 'pipe'])
        if kind == 'image' or (kind == 'text' and path.suffix.lower() in folders.IMAGE_ENDINGS):
            picture(path, rng.randrange(10**9))
        elif kind == 'text':
            path.write_text('P6' * rng.randrange(3))
        elif kind == 'folder' and depth < 2:
            random_tree(path, rng, depth + 1)
        elif kind == 'pipe':
            os.mkfifo(path)
        else:
            path.symlink_to(rng.choice([*ABOVE[: depth + 1], 'nowhere', name, 'b.png', 'a']))


def entries_below(folder: Path) -> list[Path]:
    """Files, folders and links, which are not followed."""
    walked = os.walk(folder)
    return [Path(above, name) for above, inside, files in walked for name in (*inside, *files)]


@pytest.mark.parametrize('seed', range(25))
def test_taken_and_listed_are_all(tmp_path, seed):
    rng, photos = random.Random(seed), tmp_path / 'photos'
    random_tree(photos, rng)
    for name in ('daisy', 'rose'):
        for number in range(4):
            picture(photos / name / f'{number}.png', rng.randrange(10**9))
        (photos / name / 'copy.png').write_bytes((photos / name / '0.png').read_bytes())
        random_tree(photos / name / 'more', rng)
    skipped: list[SkippedEntry] = []
    images = labelled_images(photos, skipped)
    found = {path for path, _ in images}
    assert len(found) == len(images)
    assert not found & {entry.path for entry in skipped}
    classes = len({label for _, label in images})
    sizes = Sizes(train800=max(6, len(found) - 6) // classes * classes, val200=1, test=1)
    try:
        counts = build_task(tmp_path / 'task', images, sizes, 0, skipped=skipped)
    except UserError as error:  # a class of few images, an unprintable name, a link to a text
        assert re.search('too few|no image of|printable|cannot be read', str(error))
        counts = None
    listed = [entry.path for entry in skipped]
    assert len(set(listed)) == len(listed)
    taken = found - set(listed)
    if counts:
        assert sum(counts.values()) == len(taken)
        assert {COPY, NOT_DRAWN} >= {entry.reason for entry in skipped if entry.path in found}
        assert len(list(csv.reader((tmp_path / 'task' / LEFT_OUT).open(encoding='utf-8')))) == (
            1 + len(skipped)
        )
    told = taken | set(listed)
    for entry in entries_below(photos):
        below = any(entry in path.parents for path in told)
        assert entry in told or below or set(entry.parents) & set(listed), entry


def test_names_that_are_no_text_are_told_in_printable_characters():
    paths = [Path(os.fsdecode(b'caf\xe9.png')), Path('a\nb'), Path('a\u202eb'), Path('é 日')]
    entries = [SkippedEntry(path, 'no image') for path in paths]
    names = [r'caf\udce9.png', r'a\nb', r'a\u202eb', 'é 日']
    assert as_text(entries) == f'left out: 4\n  4 no image: {", ".join(names)}\n'
    rows = list(csv.reader(io.StringIO(as_csv(entries).encode().decode())))
    assert rows == [['path', 'reason'], *([name, 'no image'] for name in names)]


def test_of_many_a_few_are_named_and_all_counted():
    entries = [SkippedEntry(Path(str(n)), 'odd' if n % 2 else 'even') for n in range(2_001)]
    assert as_text(entries) == (
        'left out: 2,001\n'
        '  1,001 even: 0, 2, 4, 6, 8, and 996 more\n'
        '  1,000 odd: 1, 3, 5, 7, 9, and 995 more\n'
    )
    assert as_text([]) == ''
