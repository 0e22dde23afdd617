"""Photos and their classes out of trees, a csv and a saved dataset."""

import json
import sys
from collections import Counter

import pytest
from photo_folders import make_photos

from memba_vision.errors import UserError
from memba_vision.photos.hf_dataset import earlier_copies_kept
from memba_vision.photos.source import TEST, TRAIN, VAL, find_photos
from memba_vision.photos.task import prepare_task


@pytest.fixture
def datasets():
    module = pytest.importorskip('datasets')
    if not hasattr(module, 'Dataset'):  # a folder of these tests has the same name
        pytest.skip("needs Hugging Face's datasets")
    return module


def made(datasets, rows, schema):
    table = pytest.importorskip('pyarrow').Table.from_pylist(rows, schema)
    return datasets.Dataset(table, fingerprint='made')  # its own way pickles classes of pyarrow


def saved(datasets, paths, labels, splits, folder) -> None:
    """Save photos, None for a row without one, with the labels of ant, 0, and bee, 1."""
    kinds = datasets.Features(
        {'image': datasets.Image(), 'label': datasets.ClassLabel(names=['ant', 'bee'])}
    )
    images = [path and {'bytes': path.read_bytes(), 'path': None} for path in paths]
    rows = [{'image': i, 'label': n} for i, n in zip(images, labels, strict=True)]
    one = made(datasets, rows, kinds.arrow_schema)
    whole = datasets.DatasetDict(dict.fromkeys(splits, one)) if splits else one
    whole.save_to_disk(folder)


def found(source, tmp_path) -> Counter:
    skipped = []
    photos = find_photos(source, skipped, tmp_path / 'copies')
    assert all(photo.path.is_file() and photo.path.is_absolute() for photo in photos)
    return Counter((photo.label, photo.split) for photo in photos)


def test_class_folders(tmp_path, monkeypatch):
    make_photos(tmp_path / 'photos', {'a': 3, 'b/inner/deep': 2})
    monkeypatch.chdir(tmp_path)
    for source in (tmp_path / 'photos', (tmp_path / 'photos').relative_to(tmp_path)):
        assert found(source, tmp_path) == {('a', ''): 3, ('b', ''): 2}


@pytest.mark.parametrize(
    ('folders', 'splits'),
    [
        ({'train': 5, 'val': 2, 'test': 3}, {TRAIN: 5, VAL: 2, TEST: 3}),
        ({'Training': 5, 'validation': 2, 'Testing': 3}, {TRAIN: 5, VAL: 2, TEST: 3}),
        ({'train': 5, 'test': 3}, {TRAIN: 5, TEST: 3}),
        ({'train': 5, 'val': 3}, {TRAIN: 5, TEST: 3}),
        ({'train': 5}, {'': 5}),
    ],
    ids=str,
)
def test_trees_of_splits(tmp_path, folders, splits):
    for seed, (folder, count) in enumerate(folders.items()):
        make_photos(tmp_path / 'tree' / folder, {'a': count, 'b': count}, seed)
    expected = {(label, split): n for split, n in splits.items() for label in 'ab'}
    assert found(tmp_path / 'tree', tmp_path) == expected


@pytest.mark.parametrize(
    ('folders', 'message'),
    [
        (['val', 'test'], 'holds test, val and no train'),
        (['train', 'test', 'eval'], 'holds eval and test, all named after the split test: move'),
        (['train_val', 'test'], 'the splits test, train_val, and train_val does not say whether'),
    ],
    ids=str,
)
def test_trees_of_no_clear_splits(tmp_path, folders, message):
    for folder in folders:
        make_photos(tmp_path / 'tree' / folder, {'a': 1, 'b': 1})
    with pytest.raises(UserError, match=message):
        found(tmp_path / 'tree', tmp_path)


def test_what_lies_beside_the_splits_is_said(tmp_path):
    tree = tmp_path / 'tree'
    for folder in ('train', 'test', 'more', '.cache'):
        make_photos(tree / folder, {'a': 1, 'b': 1})
    (tree / 'readme.txt').touch()
    skipped = []
    photos = find_photos(tree, skipped, tmp_path / 'copies')
    assert {photo.split for photo in photos} == {TRAIN, TEST}
    beside = 'beside the folders of train, val and test'
    assert {(entry.path.name, entry.reason) for entry in skipped} == {
        ('.cache', 'hidden (the name begins with a dot)'),
        ('more', beside),
        ('readme.txt', beside),
    }


def test_a_csv(tmp_path):
    make_photos(tmp_path, {'a': 2})
    (tmp_path / 'list.csv').write_text('file,class\na/0.png,x\na/1.png,y\n')
    assert found(tmp_path / 'list.csv', tmp_path) == {('x', ''): 1, ('y', ''): 1}


@pytest.mark.parametrize(
    ('column', 'written', 'splits'),
    [
        ('split', ['train', 'Train', 'test'], [TRAIN, TRAIN, TEST]),
        ('Subset', ['training', 'training', 'dev'], [TRAIN, TRAIN, TEST]),
        ('partition', ['train', 'valid', 'eval'], [TRAIN, VAL, TEST]),
        ('split', ['train', 'train', 'train'], ['', '', '']),
        ('split', ['full', 'full', 'full'], ['', '', '']),
        ('split', ['', '', ''], ['', '', '']),
        ('subject', ['0', '1', '2'], ['', '', '']),
    ],
    ids=str,
)
def test_a_csv_with_a_column_of_splits(tmp_path, column, written, splits):
    make_photos(tmp_path, {'a': 3})
    rows = ''.join(f'a/{n}.png,{split},x\n' for n, split in enumerate(written))
    (tmp_path / 'list.csv').write_text(f'file,{column},class\n{rows}')
    photos = find_photos(tmp_path / 'list.csv', [], tmp_path / 'copies')
    assert [photo.split for photo in photos] == splits


@pytest.mark.parametrize(
    ('written', 'message'),
    [
        (['0', '1', '2'], 'has the splits 0, 1, 2, and 0 does not say whether'),
        (['train', 'test', ''], 'and an empty name does not say whether'),
        (['val', 'test', 'test'], 'holds val, test and no train'),
        (['train', 'test', 'eval'], 'holds test and eval, all named after the split test'),
    ],
    ids=str,
)
def test_a_csv_of_no_clear_splits(tmp_path, written, message):
    make_photos(tmp_path, {'a': 3})
    rows = ''.join(f'a/{n}.png,x,{split}\n' for n, split in enumerate(written))
    (tmp_path / 'list.csv').write_text(f'file,class,split\n{rows}')
    with pytest.raises(UserError, match=message):
        found(tmp_path / 'list.csv', tmp_path)


def test_classes_of_a_tree_of_splits_are_spelled_alike(tmp_path):
    for split, name in {'train': 'caf\u00e9', 'test': 'cafe\u0301'}.items():
        make_photos(tmp_path / 'tree' / split, {name: 1, 'b': 1})
    assert {label for label, _ in found(tmp_path / 'tree', tmp_path)} == {'caf\u00e9', 'b'}


def test_a_saved_dataset_wants_its_library(tmp_path, monkeypatch):
    (tmp_path / 'dataset_dict.json').write_text(json.dumps({'splits': ['train']}))
    monkeypatch.setitem(sys.modules, 'datasets', None)  # as where it is not installed
    with pytest.raises(UserError, match='pip install datasets'):
        found(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ('splits', 'expected'),
    [
        ((), ('',)),
        (('full',), ('',)),
        (('train', 'test'), (TRAIN, TEST)),
        (('train', 'validation', 'test'), (TRAIN, VAL, TEST)),
        (('Train', 'testing'), (TRAIN, TEST)),
        (('training_2024', 'dev', 'eval'), (TRAIN, VAL, TEST)),
    ],
    ids=str,
)
def test_a_saved_dataset(tmp_path, datasets, splits, expected):
    photos = sorted(make_photos(tmp_path / 'photos', {'a': 3, 'b': 3}).rglob('*.png'))
    labels = [int(path.parent.name == 'b') for path in photos]
    saved(datasets, [*photos, None], [*labels, 0], splits, tmp_path / 'saved')
    counts = {(c, s): n for s in expected for c, n in (('ant', 4), ('bee', 3))}
    assert found(tmp_path / 'saved', tmp_path) == counts
    copies = {path.read_bytes() for path in (tmp_path / 'copies').rglob('*') if path.is_file()}
    assert copies == {b'', *(path.read_bytes() for path in photos)}, 'a row has no photo'


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        (['image', 'species', 'family'], 'species (ClassLabel), family (ClassLabel): save it'),
        (['image', 'other_image', 'species'], 'other_image (Image), species (ClassLabel): save it'),
        (['image'], 'found image (Image): save it with those two alone, by select_columns'),
    ],
    ids=str,
)
def test_a_saved_dataset_with_one_column_too_many_or_few(tmp_path, datasets, names, expected):
    kind = {True: datasets.Image(), False: datasets.ClassLabel(names=['ant', 'bee'])}
    features = datasets.Features({name: kind['image' in name] for name in names})
    row = {name: {'bytes': b'', 'path': None} if 'image' in name else 0 for name in names}
    made(datasets, [row], features.arrow_schema).save_to_disk(tmp_path / 'saved')
    with pytest.raises(UserError) as error:
        found(tmp_path / 'saved', tmp_path)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ('splits', 'labels', 'message'),
    [
        (('train', 'extra'), [0, 1], 'extra does not say whether it is for the training'),
        (('train', 'traintest'), [0, 1], 'traintest does not say'),
        (('validation', 'test'), [0, 1], 'holds validation, test and no train'),
        (('train', 'validation', 'dev'), [0, 1], 'validation and dev, all named after the split'),
        (('train', 'test'), [0, -1], r'saved/train: the photo of row 1 has no class.* is -1'),
        ((), [None, 1], r'saved: the photo of row 0 has no class, its label is None'),
    ],
    ids=str,
)
def test_a_saved_dataset_of_no_clear_splits_or_labels(tmp_path, datasets, splits, labels, message):
    photos = sorted(make_photos(tmp_path / 'photos', {'a': 2}).rglob('*.png'))
    saved(datasets, photos, labels, splits, tmp_path / 'saved')
    with pytest.raises(UserError, match=message):
        found(tmp_path / 'saved', tmp_path)
    assert not list((tmp_path / 'copies').rglob('*.png'))


def test_a_dataset_of_something_else(tmp_path, datasets):
    made(datasets, [{'text': 'a', 'label': 1}], None).save_to_disk(tmp_path / 'saved')
    with pytest.raises(UserError, match=r'one column of images .* found text \(Value\)'):
        found(tmp_path / 'saved', tmp_path)
    (tmp_path / 'saved' / 'state.json').write_text('{')
    with pytest.raises(UserError, match='cannot be read by datasets'):
        found(tmp_path / 'saved', tmp_path)


def test_classes_of_a_saved_dataset_are_spelled_alike(tmp_path, datasets):
    (photo,) = make_photos(tmp_path / 'photos', {'a': 1}).rglob('*.png')
    features = datasets.Features({'image': datasets.Image(), 'label': datasets.Value('string')})
    image = {'bytes': photo.read_bytes(), 'path': None}
    names = ('cat', ' cat', 'caf\u00e9', 'cafe\u0301')
    rows = [{'image': image, 'label': name} for name in names]
    made(datasets, rows, features.arrow_schema).save_to_disk(tmp_path / 'saved')
    assert found(tmp_path / 'saved', tmp_path) == {('cat', ''): 2, ('caf\u00e9', ''): 2}


def test_copies_of_an_earlier_call_come_back_after_an_error(tmp_path):
    copies = tmp_path / 'photos'
    copies.mkdir()
    (copies / '0.png').write_bytes(b'old')
    with pytest.raises(UserError), earlier_copies_kept(copies):
        copies.mkdir()
        (copies / '0.png').write_bytes(b'new')
        raise UserError('refused')
    assert (copies / '0.png').read_bytes() == b'old'
    copies.rename(tmp_path / 'photos.earlier')  # as a call leaves it that is killed
    with earlier_copies_kept(copies):
        assert not copies.exists()
        copies.mkdir()
        (copies / '0.png').write_bytes(b'new')
    assert [path.read_bytes() for path in tmp_path.rglob('*.png')] == [b'new']


def test_copies_of_a_saved_dataset_may_move(tmp_path, datasets):
    photos = sorted(make_photos(tmp_path / 'photos', {'a': 12, 'b': 12}).rglob('*.png'))
    labels = [int(path.parent.name == 'b') for path in photos]
    saved(datasets, photos, labels, (), tmp_path / 'saved')
    digests = {
        prepare_task(tmp_path / 'saved', tmp_path / name, 0, False, 1, print).digest()
        for name in ('before', 'after')
    }
    assert len(digests) == 1
