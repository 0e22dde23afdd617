import os
import re
from pathlib import Path

import pytest
from helpers import make_task
from mmengine.logging import MMLogger
from PIL import Image

from memba_vision.datasets.tasks import VTAB1K_TASKS
from memba_vision.datasets.vtab1k import SPLITS, VTAB1k
from memba_vision.errors import UserError

LOAD = [
    dict(type='mmpretrain.LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='mmpretrain.Resize', scale=(8, 8), backend='pillow', interpolation='bicubic'),
    dict(type='mmpretrain.PackInputs'),
]


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_task(tmp_path, 'kitti')


def read(folder: Path, split: str = 'train800val200', **kwargs) -> VTAB1k:
    return VTAB1k('kitti', folder.parent, split, **kwargs)


def write_list(folder: Path, *lines: str) -> None:
    (folder / 'test.txt').write_text(''.join(f'{line}\n' for line in lines))


def error_of(folder: Path, split: str = 'test') -> str:
    with pytest.raises(UserError) as error:
        read(folder, split)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('task', VTAB1K_TASKS.values(), ids=lambda task: task.name)
def test_every_task_reads_from_its_folder(tmp_path, task):
    make_task(tmp_path, task.name)
    dataset = VTAB1k(task.name, tmp_path, 'train800', pipeline=LOAD)
    assert len(dataset) == 4
    assert [dataset.get_data_info(i)['gt_label'] for i in range(4)] == [
        i % task.num_classes for i in range(4)
    ]
    assert dataset[3]['inputs'].shape == (3, 8, 8)
    assert dataset[3]['data_samples'].gt_label.item() == 3 % task.num_classes
    assert dataset.get_data_info(0)['img_path'].startswith(str(tmp_path / task.folder))


def test_splits(folder):
    sizes = {split: len(read(folder, split)) for split in SPLITS}
    assert sizes == {'train800val200': 6, 'train800': 4, 'val200': 2, 'test': 3}
    paths = [entry['img_path'] for entry in read(folder, 'test').load_data_list()]
    assert paths == [
        f'{folder}/images/test/00{i}.{end}' for i, end in enumerate(['png', 'jpg', 'png'])
    ]


def test_unknown_split_lists_the_known_ones(folder):
    with pytest.raises(UserError, match=r"unknown split 'train'.*train800val200, train800, val200"):
        read(folder, 'train')


def test_unknown_task_lists_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"'cifar'.*did you mean 'cifar100'.*smallnorb_elevation"):
        VTAB1k('cifar', tmp_path)


def test_missing_data_root_says_how_to_get_the_data(tmp_path):
    with pytest.raises(UserError, match=r'no data at .*nowhere.*gdown 1yZKwiKdsBz.*data_root'):
        VTAB1k('kitti', tmp_path / 'nowhere')


def test_missing_task_folder_names_those_that_are_there(folder):
    with pytest.raises(
        UserError, match=r'no folder cifar for task cifar100; it holds kitti.*gdown'
    ):
        VTAB1k('cifar100', folder.parent)


def test_missing_list_file(folder):
    (folder / 'val200.txt').unlink()
    assert 'has no list file val200.txt' in error_of(folder, 'val200')
    assert len(read(folder, 'test')) == 3


@pytest.mark.parametrize(
    'line',
    ['images/test/000.png', 'a.png one', 'a.png -1', 'a.png 1.0', '7', 'a.png ²', 'a.png\t1'],
)
def test_unparsable_line_is_named(folder, line):
    write_list(folder, 'images/test/000.png 0', line)
    message = error_of(folder)
    assert 'test.txt, line 2: expected "relative/path label"' in message
    assert repr(line) in message


def test_label_outside_the_classes(folder):
    write_list(folder, 'images/test/000.png 3', '', 'images/test/001.jpg 4')
    assert "test.txt, line 3: label 4 is outside the task's classes 0 to 3" in error_of(folder)


@pytest.mark.parametrize('content', ['', '\n \n'])
def test_empty_list(folder, content):
    (folder / 'test.txt').write_text(content)
    assert 'test.txt lists no image' in error_of(folder)


def test_list_that_is_not_text(folder):
    (folder / 'test.txt').write_bytes(b'\xff\xfe\x00')
    assert 'test.txt is not a text file' in error_of(folder)


def test_missing_images_are_found_before_the_first_step(folder):
    (folder / 'images/test/001.jpg').unlink()
    message = error_of(folder)
    assert 'lists 1 image(s) that do not exist' in message
    assert str(folder / 'images/test/001.jpg') in message


def test_images_in_a_missing_folder(folder):
    write_list(folder, 'elsewhere/000.png 0')
    assert str(folder / 'elsewhere/000.png') in error_of(folder)


def test_an_image_that_is_a_folder(folder):
    (folder / 'images/test/000.png').unlink()
    (folder / 'images/test/000.png').mkdir()
    assert 'images/test/000.png' in error_of(folder)


def test_an_image_that_is_a_link(folder):
    image = folder / 'images/test/000.png'
    image.rename(folder / 'elsewhere.png')
    image.symlink_to(folder / 'elsewhere.png')
    assert len(read(folder, 'test')) == 3


def test_a_loop_of_links(folder):
    loop = folder / 'images/test/loop.png'
    loop.symlink_to(loop)
    assert len(read(folder, 'test')) == 3, 'it is not listed'
    write_list(folder, 'images/test/loop.png 0')
    assert 'lists 1 image(s) that do not exist' in error_of(folder)


@pytest.mark.parametrize('content', [b'', b'not an image'])
def test_image_that_does_not_decode_is_named(folder, content):
    image = folder / 'images/test/000.png'
    image.write_bytes(content)
    dataset = read(folder, 'test', pipeline=LOAD, test_mode=True)
    assert dataset[1]['inputs'].shape == (3, 8, 8)
    with pytest.raises(UserError, match=f'cannot read image {re.escape(str(image))}') as error:
        dataset[0]
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('ending', ['png', 'jpg'])
@pytest.mark.parametrize('test_mode', [False, True])
def test_truncated_image_is_an_error_and_not_half_grey(folder, ending, test_mode):
    image = folder / f'images/test/half.{ending}'
    Image.effect_noise((64, 64), 90).convert('RGB').save(image)
    whole = image.read_bytes()
    write_list(folder, f'images/test/half.{ending} 0')
    assert read(folder, 'test', pipeline=LOAD)[0]['inputs'].shape == (3, 8, 8)
    image.write_bytes(whole[: len(whole) // 2])
    dataset = read(folder, 'test', pipeline=LOAD, test_mode=test_mode)
    with pytest.raises(UserError, match=f'cannot read image .*half.{ending}'):
        dataset[0]


def test_image_that_vanishes_after_the_start_is_named(folder):
    dataset = read(folder, 'test', pipeline=LOAD)
    (folder / 'images/test/002.png').unlink()
    with pytest.raises(UserError, match=r'cannot read image .*002\.png'):
        dataset[2]


def test_grey_image_is_read_as_rgb(folder):
    Image.new('L', (9, 9), 200).save(folder / 'images/test/000.png')
    inputs = read(folder, 'test', pipeline=LOAD)[0]['inputs']
    assert inputs.shape == (3, 8, 8)
    assert inputs.unique().tolist() == [200]


def test_path_with_spaces(folder):
    os.rename(folder / 'images/test/000.png', folder / 'images/test/a b  c.png')
    write_list(folder, 'images/test/a b  c.png 2')
    entry = read(folder, 'test').get_data_info(0)
    assert entry['img_path'] == str(folder / 'images/test/a b  c.png')
    assert entry['gt_label'] == 2


@pytest.mark.parametrize('prefix', ['./', 'images/../'])
def test_path_that_is_not_in_its_shortest_form(folder, prefix):
    write_list(folder, f'{prefix}images/test/000.png 2')
    assert len(read(folder, 'test')) == 1


def test_line_ends_and_byte_order_mark_of_windows(folder):
    lines = 'images/test/000.png 0\r\nimages/test/001.jpg 1\r\n'
    (folder / 'test.txt').write_bytes(b'\xef\xbb\xbf' + lines.encode())
    dataset = read(folder, 'test', pipeline=LOAD)
    assert [dataset.get_data_info(i)['gt_label'] for i in range(2)] == [0, 1]
    assert dataset[0]['inputs'].shape == (3, 8, 8)


def test_another_number_of_images_than_published_is_said(folder, tmp_path):
    log = tmp_path / 'log'
    MMLogger.get_instance('counts', log_file=str(log))
    read(folder, 'test')
    assert 'test.txt lists 3 images, the published split has 711' in log.read_text()


def test_the_published_number_of_images_is_silent(folder, tmp_path):
    log = tmp_path / 'log'
    MMLogger.get_instance('silent', log_file=str(log))
    write_list(folder, *['images/test/000.png 0'] * 711)
    assert len(read(folder, 'test')) == 711
    assert log.read_text() == ''
