"""The datasets as mmpretrain's own: what its tools ask for, and its wrappers and mmengine's."""

import os
import re
import signal
from pathlib import Path

import pytest
from helpers import make_task
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from memba_vision.datasets.mini_vtab.dataset import MiniVTAB
from memba_vision.datasets.own_data import OwnData
from memba_vision.datasets.vtab1k import VTAB1k
from memba_vision.datasets.wrapped_data import images_in_work, inner_datasets
from memba_vision.errors import UserError
from memba_vision.files import sha256_of
from memba_vision.runs.record import _describe_data

LOAD = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(8, 8), backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
WRAPPERS = {
    'ClassBalancedDataset': dict(oversample_thr=0.6),
    'KFoldDataset': dict(num_splits=3),
    'RepeatDataset': dict(times=2),
    'ConcatDataset': dict(),
}


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    """Tasks of six and three images: kitti, digits, and one's own with names."""
    root = tmp_path_factory.mktemp('data')
    for task in ('kitti', 'digits'):
        make_task(root, task)
    (root / 'kitti/classes.txt').write_text('near\nmiddle\nfar\nnone\n')
    return root


def config(root: Path, kind: str = 'VTAB1k', **options) -> dict:
    task = 'digits' if kind == 'MiniVTAB' else 'kitti'
    return dict(type=kind, task=task, data_root=str(root), pipeline=LOAD, **options)


@pytest.fixture(autouse=True)
def _scope(monkeypatch):
    """mmpretrain's, as in every run: mmengine's wrappers look up what they wrap in it."""
    scope = DefaultScope('test', scope_name='mmpretrain')
    monkeypatch.setattr(DefaultScope, '_instance_dict', {'test': scope})


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    """Look after processes that load data more often than every five seconds."""
    monkeypatch.setattr('torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', 0.2)


def wrapped(root: Path, wrapper: str, kind: str = 'VTAB1k', **options):
    inner = config(root, kind, **options)
    data = dict(datasets=[inner, {**inner, 'split': 'test'}])
    data = data if wrapper == 'ConcatDataset' else dict(dataset=inner)
    return DATASETS.build(dict(type=wrapper, **WRAPPERS[wrapper], **data))


@pytest.mark.parametrize('kind', [VTAB1k, OwnData, MiniVTAB])
def test_what_tools_ask_a_dataset_for(root, kind):
    dataset = DATASETS.build(config(root, kind.__name__, split='train800'))
    assert isinstance(dataset, kind)
    names = {OwnData: ['near', 'middle', 'far', 'none'], MiniVTAB: list('0123456789')}
    assert list(dataset.CLASSES) == names.get(kind, list('0123'))
    assert dataset.class_to_idx == {name: n for n, name in enumerate(dataset.CLASSES)}
    assert dataset.get_gt_labels().tolist() == [0, 1, 2, 3]
    assert [dataset.get_cat_ids(i) for i in range(4)] == [[0], [1], [2], [3]]


def test_transforms_are_found_without_a_default_scope(root, monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})
    assert VTAB1k('kitti', root, pipeline=LOAD)[0]['inputs'].shape == (3, 8, 8)


@pytest.mark.parametrize('kind', ['VTAB1k', 'OwnData', 'MiniVTAB'])
def test_options_of_mmengine_s_dataset(root, kind):
    options = dict(indices=2, serialize_data=False, lazy_init=True, max_refetch=3)
    dataset = DATASETS.build(config(root, kind, **options))
    assert not dataset._fully_initialized
    assert (len(dataset), dataset.max_refetch) == (2, 3)
    with pytest.raises(TypeError, match='indexes'):
        DATASETS.build(config(root, kind, indexes=2))


def test_names_of_one_s_own(root):
    names = ['a', 'b', 'c', 'd']
    for kind in (VTAB1k, OwnData):
        dataset = kind('kitti', root, metainfo=dict(classes=names))
        assert dataset.CLASSES == dataset.metainfo['classes'] == names
        with pytest.raises(UserError, match='metainfo names 3 classes, the task kitti has 4'):
            kind('kitti', root, metainfo=dict(classes=names[:3]))


@pytest.mark.parametrize('kind', ['VTAB1k', 'OwnData', 'MiniVTAB'])
@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_wrappers(root, wrapper, kind):
    dataset = wrapped(root, wrapper, kind)
    plain = [*range(4), 0, 1]  # the labels of train800val200
    expected = {
        # Each class has fewer than 0.6 of the images: an image is repeated sqrt(0.6 / share) times.
        'ClassBalancedDataset': [label for label in plain for _ in range(2)],
        'KFoldDataset': plain[2:],
        'RepeatDataset': plain * 2,
        'ConcatDataset': [*plain, 0, 1, 2],
    }[wrapper]
    assert [dataset.get_data_info(i)['gt_label'] for i in range(len(dataset))] == expected
    assert [dataset[i]['data_samples'].gt_label.item() for i in range(len(dataset))] == expected
    assert dataset.metainfo.get('classes') == DATASETS.build(config(root, kind)).metainfo.get(
        'classes'
    )


def test_folds_have_images_of_their_own(root):
    one, two = (
        DATASETS.build(dict(type='KFoldDataset', fold=fold, num_splits=2, dataset=config(root)))
        for fold in range(2)
    )
    paths = [{d.get_data_info(i)['img_path'] for i in range(len(d))} for d in (one, two)]
    assert not paths[0] & paths[1]
    assert len(paths[0] | paths[1]) == 6


def test_two_subsets_of_a_dataset_share_nothing(root):
    dataset = VTAB1k('kitti', root, pipeline=LOAD)
    one, two = dataset.get_subset([0]), dataset.get_subset([1])
    tables = {d._in_work.table.data_ptr() for d in (dataset, one, two)}
    assert len(tables) == 3
    assert all(d._in_work.table.is_shared() for d in (one, two))
    assert one.pipeline is not two.pipeline


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_an_image_that_cannot_be_read_is_named_behind_a_wrapper(tmp_path, wrapper, workers):
    folder = make_task(tmp_path, 'kitti')
    bad = folder / 'images/train800/002.png'
    bad.write_bytes(b'no image')
    loader = DataLoader(wrapped(tmp_path, wrapper), None, num_workers=workers)
    with pytest.raises(UserError, match=f'cannot read image {re.escape(str(bad))}'):
        list(loader)


def die_at_the_third(data: dict) -> dict:
    if data['img_path'].endswith('train800/002.png'):
        os.kill(os.getpid(), signal.SIGKILL)
    return data


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_a_data_process_that_dies_names_its_image_behind_a_wrapper(root, wrapper):
    dataset = wrapped(root, wrapper)
    for inner in inner_datasets(dataset):
        inner.pipeline.transforms[:] = [die_at_the_third]
    with pytest.raises(RuntimeError, match=r'worker.*\(pid') as error:
        list(DataLoader(dataset, None, num_workers=1))
    assert images_in_work(dataset, str(error.value)) == f'{root}/kitti/images/train800/002.png'


def test_the_latest_image_of_a_process_is_named(root):
    """It has read both datasets: the one that it left does not count."""
    dataset = wrapped(root, 'ConcatDataset')
    for inner in dataset.datasets:
        inner.pipeline.transforms[:] = [die_at_the_third]
    with pytest.raises(RuntimeError, match=r'worker.*\(pid') as error:
        list(DataLoader(dataset, None, sampler=[0, 7, 1, 8, 2], num_workers=1))
    assert images_in_work(dataset, str(error.value)) == f'{root}/kitti/images/train800/002.png'


def test_a_dataset_that_notes_no_image():
    assert images_in_work([1, 2], 'DataLoader worker (pid 7)') == 'an image that is not known'


def test_the_record_names_the_lists_behind_a_wrapper(root):
    lists = {s: sha256_of(root / f'kitti/{s}.txt') for s in ('train800val200', 'test')}
    for wrapper in ('ClassBalancedDataset', 'KFoldDataset', 'RepeatDataset'):
        facts = _describe_data(wrapped(root, wrapper))
        assert (facts['type'], facts['list_sha256']) == (wrapper, lists['train800val200'])
    facts = _describe_data(wrapped(root, 'ConcatDataset'))
    assert (facts['type'], facts['images']) == ('ConcatDataset', 9)
    assert [part['list_sha256'] for part in facts['datasets']] == list(lists.values())
