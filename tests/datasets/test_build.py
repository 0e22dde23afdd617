import csv
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers import run_tool
from PIL import Image

from memba_vision.datasets.own_data import OwnData
from memba_vision.datasets.vtab1k import VTAB1k
from memba_vision.datasets.vtab1k_tools.sources import class_names, labelled_images

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
    assert build('--seed', 1, '--train', 800, source=root, task='kitti').status == 0
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


# What is said of what was taken, and of what was not


def test_the_images_of_each_class_and_split_are_printed(build):
    lines = build().out.splitlines()
    table = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if '|' in line]
    assert table[0] == ['class', 'train800', 'val200', 'test', 'together']
    assert [row[0] for row in table[2:]] == [*CLASSES, '3 classes']
    counts = {name: [int(cell) for cell in cells] for name, *cells in table[2:]}
    assert {name: counts[name][-1] for name in CLASSES} == CLASSES
    assert counts['3 classes'] == [18, 6, 12, 36]
    assert [counts[name][0] for name in CLASSES] == [10, 5, 3]


def skipped(folder: Path) -> dict[str, str]:
    with (folder / 'left_out.csv').open(encoding='utf-8', newline='') as file:
        return {Path(row['path']).name: row['reason'] for row in csv.DictReader(file)}


def test_copies_and_images_that_are_not_drawn_are_listed(build, photos, tmp_path):
    (photos / 'cat/copy.png').write_bytes((photos / 'cat/2.PNG').read_bytes())
    outcome = build('--train', 18, '--val', 6, '--test', 5)
    assert '5 images in test' in outcome.out
    assert 'left out: 3\n  3 no image' in outcome.out
    assert '1 a copy of an image that is taken: ' in outcome.out
    assert re.search('7 not drawn .*, and 2 more', outcome.out)
    found = Counter(skipped(tmp_path / 'own/pets3').values())
    assert sorted(found.values()) == [1, 1, 7]  # notes.txt has one name in three classes


def test_images_that_are_in_the_test_split_too_are_listed(build, photos, tmp_path):
    (tmp_path / 'other/cat').mkdir(parents=True)
    (tmp_path / 'other/cat/same.png').write_bytes((photos / 'cat/2.PNG').read_bytes())
    outcome = build('--train', 18, '--val', 6, '--test-from', tmp_path / 'other')
    assert '1 in the test images as well: ' in outcome.out
    assert skipped(tmp_path / 'own/pets3')['2.PNG'] == 'in the test images as well'


def test_an_image_of_one_class_to_train_and_another_to_test(build, photos, tmp_path):
    (tmp_path / 'other/dog').mkdir(parents=True)
    (tmp_path / 'other/dog/same.png').write_bytes((photos / 'cat/2.PNG').read_bytes())
    error = build('--train', 18, '--val', 6, '--test-from', tmp_path / 'other').error()
    assert re.search(r'cat/2\.PNG is in class cat, the same image .*same\.png in class dog', error)


def test_nothing_is_said_of_a_source_that_is_taken_whole(build, photos, tmp_path):
    for path in photos.rglob('notes.txt'):
        path.unlink()
    assert 'left out' not in build().out
    assert not (tmp_path / 'own/pets3/left_out.csv').exists()


def test_what_was_left_out_is_said_before_an_error(build, photos):
    outcome = build('--train', 800)
    assert 'too few' in outcome.error()
    assert 'left out: 3\n  3 no image' in outcome.out


def test_copies_are_said_where_they_leave_too_few(build, photos):
    (photos / 'cat/copy.png').write_bytes((photos / 'cat/2.PNG').read_bytes())
    outcome = build('--train', 31, '--val', 6)
    assert 'too few different images: 5 of 6 for val200' in outcome.error()
    assert '1 a copy of an image that is taken: ' in outcome.out


def test_a_copy_has_the_ending_of_its_format_where_its_own_is_none(build, photos, tmp_path):
    for number, (kind, name) in enumerate(
        [('JPEG', 'a'), ('TIFF', 'b.part'), ('GIF', 'c.a b\n'), ('PNG', 'd.JFIF'), ('WEBP', 'e.1')]
    ):
        pixels = np.random.default_rng(10 + number).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).save(photos / 'newt' / name, kind)
    assert build().status == 0
    copies = [Path(path) for path, _ in lines(tmp_path / 'own/pets3', 'train800val200')]
    copies += [Path(path) for path, _ in lines(tmp_path / 'own/pets3', 'test')]
    endings = Counter(path.suffix for path in copies) - Counter({'.png': 99, '.bmp': 99})
    assert endings == {'.jpg': 1, '.tif': 1, '.gif': 1, '.jfif': 1, '.webp': 1}


@pytest.mark.parametrize(('column', 'status'), [(('train', 'test'), 2), (('train', 'train'), 0)])
def test_a_csv_with_a_column_of_splits(build, photos, column, status):
    source = photos / 'list.csv'
    rows = [
        f'{path},{label},{column[n % 2]}' for n, (path, label) in enumerate(labelled_images(photos))
    ]
    source.write_text('\n'.join(['path,label,split', *rows]))
    outcome = build(source=source)
    assert outcome.status == status, outcome
    if status:
        advice = (
            'a column of splits (test, train), which are drawn here: give a csv of each, by --from'
        )
        assert advice in outcome.error()


@pytest.mark.parametrize('task', ['digits', 'letters'])
def test_a_name_of_mini_vtab(build, tmp_path, task):
    assert f'--task {task}: mini-VTAB has a task of this name: choose' in build(task=task).error()
    assert not (tmp_path / 'own').exists()


# Names of classes


def test_one_name_in_two_unicode_forms_is_one_class(build, photos, tmp_path):
    forms = [unicodedata.normalize(form, 'caf\u00e9') for form in ('NFC', 'NFD')]
    (photos / 'cat').rename(photos / forms[0])
    (photos / 'dog').rename(photos / forms[1])
    outcome = build('--train', 18, '--val', 6)
    assert 'writes the class caf\u00e9 in 2 ways that look the same' in outcome.out
    assert (tmp_path / 'own/pets3/classes.txt').read_text() == 'caf\u00e9\nnewt\n'
    assert '2 classes' in outcome.out


def test_forms_that_differ_between_training_and_test_images_are_one_class(build, photos, tmp_path):
    forms = [unicodedata.normalize(form, 'caf\u00e9') for form in ('NFC', 'NFD')]
    (photos / 'cat').rename(photos / forms[0])
    (tmp_path / 'other' / forms[1]).mkdir(parents=True)
    Image.new('RGB', (3, 3)).save(tmp_path / 'other' / forms[1] / 'x.png')
    assert build('--train', 18, '--val', 6, '--test-from', tmp_path / 'other').status == 0
    assert lines(tmp_path / 'own/pets3', 'test')[0][1] == '0'


def test_names_that_differ_in_capitals_are_told(build, photos):
    (photos / 'cat').rename(photos / 'Dog')
    outcome = build()
    assert re.search('has the classes Dog and dog: taken as two', outcome.out)
    assert '3 classes' in outcome.out


@pytest.mark.parametrize(
    'name', ['c\nat', 'c\rat', 'c\tat', '\ufeffcat', 'c\u202eat', 'c\x85at', ' ', b'caf\xe9']
)
def test_names_that_cannot_be_printed(build, photos, name):
    new = photos / name if isinstance(name, str) else Path(os.fsdecode(bytes(photos) + b'/' + name))
    (photos / 'cat').rename(new)
    error = build().error()
    assert 'must be printable' in error
    assert error.isprintable()


def test_files_whose_names_cannot_be_printed_are_taken(build, photos, tmp_path):
    for number, path in enumerate((photos / 'cat').glob('*.bmp')):
        path.rename(os.fsdecode(bytes(path) + b'\xe9\n%d.bmp' % number))
    assert '12 images in test' in build().out
    text = ''.join(p.read_text() for p in (tmp_path / 'own/pets3').glob('*.txt'))
    assert all(line.isprintable() for line in text.splitlines())
    outcome = run_tool('prepare_vtab1k', 'check', tmp_path / 'own', '--tasks', 'pets3')
    assert outcome.status == 0, outcome.out


# Arguments


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (('--train', -5), '--train -5: expected 1 or more'),
        (('--train', 0), '--train 0: expected 1 or more'),
        (('--train', 18, '--val', -1), '--val -1: expected 1 or more'),
        (('--train', 18, '--val', 0), '--val 0: expected 1 or more'),
        (('--train', 18, '--val', 6, '--test', -3), '--test -3: expected 1 or more'),
        (('--train', 18, '--val', 6, '--test', 0), '--test 0: expected 1 or more'),
        (('--train', 18, '--val', 6, '--seed', -1), '--seed -1: expected 0 or more'),
    ],
)
def test_numbers_out_of_range(build, tmp_path, arguments, expected):
    assert expected in build(*arguments).error()
    assert not (tmp_path / 'own').exists()


@pytest.mark.parametrize('task', ['.', '..', 'a/b', 'a\nb'])
def test_names_of_tasks_that_are_no_folder(build, tmp_path, task):
    (tmp_path / 'own').mkdir()
    assert 'a name that can be a folder' in build(task=task).error()


def test_an_out_that_is_a_file(build, tmp_path):
    (tmp_path / 'file').touch()
    assert f'{tmp_path}/file is no folder, so ' in build(out='file').error()
    assert f'{tmp_path}/file is no folder' in build(out='file/deeper').error()


def test_one_class_alone(build, photos, tmp_path):
    for name in ('cat', 'dog'):
        (photos / name).rename(tmp_path / name)
    error = build('--train', 2, '--val', 1).error()
    assert 'one class alone, newt, and a task needs two or more' in error


def test_a_folder_around_all_classes(build, photos, tmp_path):
    (tmp_path / 'download').mkdir()
    photos.rename(tmp_path / 'download/photos')
    error = build(source=tmp_path / 'download').error()
    assert 'one class alone, photos' in error
    assert error.endswith(
        f'if the folders cat, dog, newt, … are classes, give --from {tmp_path}/download/photos'
    )


def test_test_images_may_be_of_one_class(build, tmp_path):
    for number in range(2):
        (tmp_path / f'other/cat/{number}').mkdir(parents=True)
        Image.new('RGB', (2, 2), (number, 0, 0)).save(tmp_path / f'other/cat/{number}/x.png')
    assert (
        '2 images in test'
        in build('--train', 18, '--val', 6, '--test-from', tmp_path / 'other').out
    )


def test_a_task_of_vtab1k_takes_no_sizes(build, photos):
    (photos / 'axolotl').mkdir()
    Image.new('L', (2, 2)).save(photos / 'axolotl/x.png')
    error = build('--val', 7, task='kitti').error()
    assert 'kitti has the sizes that VTAB-1k prescribes: leave out --train' in error
