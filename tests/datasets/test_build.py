import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import run_tool
from PIL import Image

from memba_vision.datasets.own_data import OwnData
from memba_vision.datasets.vtab1k import VTAB1k
from memba_vision.datasets.vtab1k_tools.build import class_names, labelled_images

CLASSES = {'cat': 20, 'dog': 10, 'newt': 6}


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder of images by class, all of them different."""
    rng, root = np.random.default_rng(0), tmp_path / 'photos'
    for name, count in CLASSES.items():
        (root / name / 'deeper').mkdir(parents=True)
        for number in range(count):
            folder = root / name / ('deeper' if number % 2 else '.')
            pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f'{number}.{"PNG" if number % 3 else "bmp"}')
        (root / name / 'notes.txt').write_text('no image')
    return root


@pytest.fixture
def build(photos, tmp_path):
    def call(*arguments: object, source: Path = photos, out: str = 'own', task: str = 'pets3'):
        return run_tool(
            'prepare_vtab1k',
            'build',
            *('--from', source, '--out', tmp_path / out, '--task', task, '--jobs', 1),
            *(arguments or ('--train', 18, '--val', 6)),
        )

    return call


def test_what_kinds_of_images_there_are_is_said(build, photos, tmp_path):
    for number in range(9):
        wide = np.random.default_rng(number).integers(0, 1 << 16, (6, 6)).astype(np.uint16)
        Image.fromarray(wide).save(photos / 'newt' / f'wide{number}.png')
    said = '45 images: 36 RGB, 9 I;16 (scaled to 8 bits); 6 x 6 pixels\n'
    assert build().out.endswith(said)
    outcome = run_tool('prepare_vtab1k', 'check', tmp_path / 'own', '--tasks', 'pets3')
    assert f'\npets3: {said}' in outcome.out


def test_values_of_unknown_range_are_refused(build, photos):
    Image.fromarray(np.ones((6, 6), np.float32)).save(photos / 'newt' / 'float.tif')
    error = build().error()
    assert 'newt/float.tif cannot be read (its pixels are floating-point numbers' in error
    assert 'scale them to 0 to 255' in error


def lines(folder: Path, split: str) -> list[list[str]]:
    return [line.split(' ') for line in (folder / f'{split}.txt').read_text().splitlines()]


def contents(folder: Path, split: str) -> dict[bytes, str]:
    return {(folder / path).read_bytes(): label for path, label in lines(folder, split)}


def test_a_folder_by_class_becomes_a_task(build, photos, tmp_path):
    outcome = build()
    assert outcome.status == 0, outcome
    assert '18 images in train800, 6 images in val200, 12 images in test' in outcome.out
    folder = tmp_path / 'own/pets3'
    assert (folder / 'classes.txt').read_text() == 'cat\ndog\nnewt\n'
    assert lines(folder, 'train800val200') == lines(folder, 'train800') + lines(folder, 'val200')
    found = {}
    for split in ('train800', 'val200', 'test'):
        assert not found.keys() & contents(folder, split).keys()
        found |= contents(folder, split)
    original = {
        path.read_bytes(): str(number)
        for number, name in enumerate(CLASSES)
        for path in (photos / name).rglob('*')
        if path.suffix in ('.PNG', '.bmp')
    }
    assert found == original
    shares = Counter(label for _, label in lines(folder, 'train800'))
    assert shares == {'0': 10, '1': 5, '2': 3}


def test_the_seed_decides(build, tmp_path):
    for out, seed in (('a', 1), ('b', 1), ('c', 2)):
        assert build('--train', 18, '--val', 6, '--seed', seed, out=out).status == 0
    a, b, c = (contents(tmp_path / out / 'pets3', 'train800') for out in 'abc')
    assert a == b
    assert a.keys() != c.keys()


def test_a_csv_of_paths_and_labels(build, photos, tmp_path):
    source = tmp_path / 'photos' / 'list.csv'
    with source.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['path', 'label'])
        for path, label in labelled_images(photos):
            writer.writerow([path.relative_to(photos), {'cat': 10, 'dog': 9, 'newt': 2}[label]])
    assert build(source=source).status == 0
    assert (tmp_path / 'own/pets3/classes.txt').read_text() == '2\n9\n10\n'
    assert Counter(label for _, label in lines(tmp_path / 'own/pets3', 'train800')) == {
        '2': 10,
        '1': 5,
        '0': 3,
    }


def test_a_test_split_from_elsewhere_shares_no_image(build, photos, tmp_path):
    outcome = build('--train', 10, '--val', 5, '--test', 9, '--test-from', photos)
    assert 'too few different images: 0 of 10 for train800' in outcome.error()
    other = tmp_path / 'other'
    for name in CLASSES:
        (other / name).mkdir(parents=True)
        for path in list((photos / name).glob('*.*'))[:2]:
            (other / name / path.name).write_bytes(path.read_bytes())
    assert build('--train', 10, '--val', 5, '--test-from', other).status == 0
    folder = tmp_path / 'own/pets3'
    assert not contents(folder, 'test').keys() & contents(folder, 'train800val200').keys()


def test_the_result_is_read_with_the_names_of_its_classes(build, tmp_path):
    build()
    dataset = OwnData('pets3', tmp_path / 'own')
    assert len(dataset) == 24
    assert dataset.metainfo['classes'] == ['cat', 'dog', 'newt']


def test_a_task_of_vtab1k_has_its_own_sizes(build, tmp_path):
    error = build('--train', 18, task='kitti').error()
    assert 'kitti has 4 classes' in error
    rng, root = np.random.default_rng(0), tmp_path / 'kitti'
    for name in '0123':
        (root / name).mkdir(parents=True)
        for number in range(428):
            Image.fromarray(rng.integers(0, 256, (2, 2, 3), np.uint8)).save(
                root / name / f'{number}.bmp'
            )
    assert build('--seed', 1, source=root, task='kitti').status == 0
    assert len(VTAB1k('kitti', tmp_path / 'own', 'test')) == 711
    outcome = run_tool('prepare_vtab1k', 'check', tmp_path / 'own', '--tasks', 'kitti')
    assert outcome.status == 0, outcome.out


# What is refused, with nothing left behind


def broken_image(photos):
    (photos / 'cat/bad.png').write_bytes(b'\x89PNG')
    return r'cat/bad\.png cannot be read'


def two_labels(photos):
    (photos / 'dog/copy.png').write_bytes((photos / 'cat/2.PNG').read_bytes())
    return r'dog/copy\.png is in class dog, the same image .*cat/2\.PNG in class cat'


def bad_csv(photos):
    (photos / 'l.csv').write_text('cat/1.png\n')
    return 'expected lines "path,label", found \'cat/1.png\''


def csv_of_nothing_there(photos):
    (photos / 'l.csv').write_text('cat/none.png,1\n')
    return r'names 1 file\(s\) that do not exist'


def line_break_in_a_name(photos):
    (photos / 'cat').rename(photos / 'c\nat')
    return 'must be printable'


@pytest.mark.parametrize(
    'spoil', [line_break_in_a_name, broken_image, two_labels, bad_csv, csv_of_nothing_there]
)
def test_what_is_refused(build, photos, tmp_path, spoil):
    expected = spoil(photos)
    source = photos / 'l.csv' if (photos / 'l.csv').exists() else photos
    assert re.search(expected, build(source=source).error())
    assert not (tmp_path / 'own').exists()


def test_too_few_images_and_other_mistakes(build, photos, tmp_path):
    assert '36 of 800 for train800' in build('--seed', 0).error()
    assert 'no image of 1 class(es), such as newt' in build('--train', 2, '--val', 1).error()
    assert 'no folder or csv' in build(source=tmp_path / 'no').error()
    assert 'holds no image' in build(source=photos / 'cat/deeper').error()
    assert 'a name that can be a folder' in build(task='../x').error()
    build()
    assert 'exists: remove it' in build().error()


def test_a_row_that_is_there_twice_is_taken_once(build, photos, tmp_path):
    source = photos / 'list.csv'
    with source.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['path', 'label'])
        for path, label in labelled_images(photos) * 2:
            writer.writerow([path.relative_to(photos), label])
    assert '12 images in test' in build(source=source).out
    train, test = (contents(tmp_path / 'own/pets3', split) for split in ('train800val200', 'test'))
    assert not train.keys() & test.keys()


def test_a_copy_in_the_same_class_is_taken_once(build, photos, tmp_path):
    (photos / 'cat/copy.png').write_bytes((photos / 'cat/2.PNG').read_bytes())
    assert '12 images in test' in build().out


def test_numbers_are_sorted_as_numbers():
    assert class_names(['10', '9', '2', '9']) == ['2', '9', '10']
    assert class_names(['b', '10', '9']) == ['10', '9', 'b']
