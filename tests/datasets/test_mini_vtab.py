import hashlib
import multiprocessing
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memba_vision.datasets.mini_vtab import (
    ensure_mini_vtab,
    ensure_task,
    render_source_batch,
    sprites,
    write,
)
from memba_vision.datasets.mini_vtab.shapes import SHAPES, render_masks, visible_angles
from memba_vision.datasets.mini_vtab.splits import Split
from memba_vision.datasets.tasks import MINI1_TASKS, MINI_TASKS
from memba_vision.errors import UserError

TASKS = list(MINI1_TASKS.values())
task_cases = pytest.mark.parametrize('task', TASKS, ids=lambda task: task.name)


@pytest.fixture(scope='module')
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('data') / 'mini-vtab'
    for task in TASKS:
        ensure_task(root, task.name)
    return root


@pytest.fixture
def small_digits(monkeypatch):
    """Let the task of digits be three black images, which are written at once."""
    split = Split(np.zeros((1, 48, 48), np.uint8), np.zeros(1, np.int64))
    splits = {name: split for name in ('train800', 'val200', 'test')}
    monkeypatch.setitem(write.MAKERS, 'digits', lambda: splits)


def read_list(folder: Path, name: str) -> list[tuple[str, int]]:
    lines = (folder / f'{name}.txt').read_text().splitlines()
    return [(path, int(label)) for path, label in (line.rsplit(' ', 1) for line in lines)]


@task_cases
def test_lists_name_every_image(root, task):
    folder = root / task.folder
    sizes = {'train800': 800, 'val200': 200, 'test': task.num_test}
    for name, size in sizes.items():
        listed = read_list(folder, name)
        assert len(listed) == size
        assert listed[0][0] == f'images/{name}/00000.png'
        assert {path for path, _ in listed} == {
            f'images/{name}/{image.name}' for image in (folder / 'images' / name).iterdir()
        }
    both = read_list(folder, 'train800') + read_list(folder, 'val200')
    assert read_list(folder, 'train800val200') == both


@task_cases
def test_images_are_lossless_and_of_the_right_size(root, task):
    for path in (root / task.folder / 'images').rglob('*0.png'):
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ('PNG', (48, 48), 'L')
            assert image.getextrema()[1] > 200


@task_cases
def test_no_image_is_in_the_task_twice(root, task):
    images = list((root / task.folder / 'images').rglob('*.png'))
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in images}) == len(images)


@task_cases
def test_every_class_is_in_every_split(root, task):
    for name in ('train800', 'val200', 'test'):
        counts = Counter(label for _, label in read_list(root / task.folder, name))
        assert sorted(counts) == list(range(task.num_classes))
        if task.name.startswith('sprites'):
            assert max(counts.values()) - min(counts.values()) <= 1


def test_places_of_sprites_follow_their_labels():
    splits = sprites.make_sprites_location()
    images, labels = splits['test'].images.astype(float), splits['test'].labels
    columns = (images.sum(1) * (np.arange(48) + 0.5)).sum(1) / images.sum((1, 2))
    means = np.array([columns[labels == label].mean() for label in range(16)])
    # Two of the 31 steps over 27 pixels. A heart's centre of mass is not the centre it turns
    # around, but the angles even that out.
    np.testing.assert_allclose(np.diff(means), 54 / 31, atol=0.3)


def test_half_of_the_rotations_of_an_ellipse_look_the_same():
    turned = np.array([[1, 3, 7, 9, 20], [1, 3, 27, 9, 20], [1, 3, 17, 9, 20]])
    visible = sprites._reduce(turned, sprites.DSPRITES.periods())
    first, half_turn, quarter_turn = sprites._render(visible, sprites.DSPRITES)
    assert (first == half_turn).all()
    assert (first != quarter_turn).any()


def test_shapes_without_symmetry_look_different_at_every_angle():
    design = sprites.WITHOUT_SYMMETRY
    for shape in range(len(design.shapes)):
        turned = np.array([[shape, 3, rotation, 9, 20] for rotation in range(40)])
        images = sprites._render(turned, design).reshape(40, -1)
        assert len(np.unique(images, axis=0)) == 40


def test_rotations_are_labelled_in_equal_bins():
    labels = np.repeat(np.arange(16), 500)
    factors = sprites._draw_factors(np.random.default_rng(0), labels, sprites.ROTATION)
    rotations = factors[:, sprites.ROTATION]
    assert (rotations * 16 // 40 == labels).all()
    assert set(rotations) == set(range(40))


@task_cases
def test_making_a_task_again_gives_the_same(task):
    first, second = write.MAKERS[task.name](), write.MAKERS[task.name]()
    for name, split in first.items():
        assert (split.images == second[name].images).all()
        assert (split.labels == second[name].labels).all()


def test_all_tasks_are_made_by_one_call(tmp_path, monkeypatch):
    split = Split(np.zeros((1, 48, 48, 3), np.uint8), np.zeros(1, np.int64))
    splits = {name: split for name in ('train800', 'val200', 'test')}
    monkeypatch.setattr(write, 'MAKERS', dict.fromkeys(MINI_TASKS, lambda: splits))
    ensure_mini_vtab(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(MINI_TASKS)
    with Image.open(tmp_path / 'cells' / 'images' / 'test' / '00000.png') as image:
        assert (image.format, image.size, image.mode) == ('PNG', (48, 48), 'RGB')


def test_a_task_that_is_there_is_left_alone(tmp_path, small_digits):
    ensure_task(tmp_path, 'digits')
    (tmp_path / 'digits' / 'note.txt').write_text('kept')
    ensure_task(tmp_path, 'digits')
    assert (tmp_path / 'digits' / 'note.txt').read_text() == 'kept'
    assert [path.name for path in tmp_path.iterdir()] == ['digits']


def test_a_failure_on_the_way_leaves_nothing(tmp_path, monkeypatch, small_digits):
    write_image = write._write_image

    def fail_at_the_test_images(path: Path, image: np.ndarray) -> None:
        if path.parent.name == 'test':
            raise RuntimeError('on the way')
        write_image(path, image)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match='on the way'):
        patch.setattr(write, '_write_image', fail_at_the_test_images)
        ensure_task(tmp_path, 'digits')
    assert not list(tmp_path.iterdir())
    ensure_task(tmp_path, 'digits')
    assert read_list(tmp_path / 'digits', 'test') == [('images/test/00000.png', 0)]


def test_what_a_kill_leaves_is_not_taken_for_the_task_and_goes(tmp_path, small_digits, monkeypatch):
    def write_and_die(folder: Path, splits: dict[str, Split]) -> None:
        write_task(folder, splits)
        os.kill(os.getpid(), signal.SIGKILL)

    write_task = write._write_task
    with monkeypatch.context() as patch:
        patch.setattr(write, '_write_task', write_and_die)
        process = multiprocessing.get_context('fork').Process(
            target=ensure_task, args=(tmp_path, 'digits')
        )
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(tmp_path.glob('.unfinished-*/digits/images'))
    ensure_task(tmp_path, 'digits')
    assert (tmp_path / 'digits' / 'test.txt').is_file()
    assert [path.name for path in tmp_path.iterdir()] == ['digits']


def test_the_quicker_of_two_processes_wins(tmp_path, monkeypatch, small_digits):
    write_task = write._write_task

    def write_after_another(folder: Path, splits: dict[str, Split]) -> None:
        write_task(folder, splits)
        write_task(tmp_path / 'digits', splits)
        (tmp_path / 'digits' / 'first.txt').touch()

    monkeypatch.setattr(write, '_write_task', write_after_another)
    ensure_task(tmp_path, 'digits')
    assert (tmp_path / 'digits' / 'first.txt').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['digits']


def test_of_several_that_want_a_task_one_makes_it(tmp_path, monkeypatch, small_digits):
    made, make = [], write.MAKERS['digits']

    def make_slowly() -> dict[str, Split]:
        made.append(1)
        time.sleep(0.2)
        return make()

    monkeypatch.setitem(write.MAKERS, 'digits', make_slowly)
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(ensure_task, tmp_path, 'digits') for _ in range(4)]:
            done.result()
    assert len(made) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['digits']


def test_a_folder_of_something_else_is_not_touched(tmp_path, small_digits):
    (tmp_path / 'digits').mkdir()
    (tmp_path / 'digits' / 'thesis.txt').write_text('mine')
    with pytest.raises(UserError, match=r'digits holds something else.*move it away'):
        ensure_task(tmp_path, 'digits')
    assert [path.name for path in tmp_path.rglob('*')] == ['digits', 'thesis.txt']


@pytest.mark.skipif(os.name != 'posix', reason='POSIX permissions')
def test_other_users_may_read_the_task(tmp_path, small_digits):
    previous = os.umask(0o022)
    try:
        ensure_task(tmp_path, 'digits')
    finally:
        os.umask(previous)
    assert (tmp_path / 'digits').stat().st_mode & 0o777 == 0o755


def test_a_root_that_cannot_be_written_is_told(tmp_path, small_digits):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match="cannot write the task 'digits'"):
        ensure_task(tmp_path / 'file', 'digits')


def test_an_unknown_task_is_told_with_the_known(tmp_path):
    with pytest.raises(UserError, match='digits, sprites_location, sprites_orientation, letters'):
        ensure_task(tmp_path, 'cifar100')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('size', [48, 64])
def test_source_batch(size):
    images, labels = render_source_batch(np.random.default_rng(0), 200, size)
    assert (images.shape, images.dtype) == ((200, size, size, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((200, 4), np.int64)
    assert images.flags['C_CONTIGUOUS']
    for column, count in enumerate((10, 4, 8, 8)):
        assert set(labels[:, column]) == set(range(count))


def test_source_batch_follows_the_generator():
    rng = np.random.default_rng(3)
    first = render_source_batch(rng, 8)
    second = render_source_batch(rng, 8)
    again = render_source_batch(np.random.default_rng(3), 8)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != second[0]).any()


def test_masks_of_a_square_cover_its_area():
    masks = render_masks(np.zeros(2, int), np.full((2, 2), 24), np.full(2, 10), np.zeros(2), 48)
    assert (masks.shape, masks.dtype) == ((2, 48, 48), np.float32)
    np.testing.assert_allclose(masks.sum((1, 2)), 14**2, rtol=1e-3)
    assert masks[0, 24, 24] == 1
    assert masks[0, 0, 0] == 0


def test_masks_fit_their_circle_and_differ():
    count = len(SHAPES)
    ids = np.arange(count)
    masks = render_masks(ids, np.full((count, 2), 24), np.full(count, 20), np.zeros(count), 48)
    y, x = np.mgrid[:48, :48] + 0.5
    outside = np.hypot(x - 24, y - 24) > 21
    assert not masks[:, outside].any()
    overlap = np.minimum(masks[:, None], masks).sum((2, 3))
    union = np.maximum(masks[:, None], masks).sum((2, 3))
    assert (overlap / union)[~np.eye(count, dtype=bool)].max() < 0.8


def test_angles_turn_counter_clockwise():
    arrow = np.array([list(SHAPES).index('arrow')] * 2)
    angles = np.array([0, np.pi / 2])
    up, left = render_masks(arrow, np.full((2, 2), 24), np.full(2, 20), angles, 48)
    np.testing.assert_allclose(left, np.rot90(up), atol=1e-4)
    assert up[:24].sum() > up[24:].sum()


def test_shapes_look_the_same_at_their_visible_angle():
    shapes = np.arange(len(SHAPES))
    angles = np.full(len(SHAPES), 5.5)
    visible = visible_angles(shapes, angles)
    assert (visible <= angles).all()
    assert visible[list(SHAPES).index('ring')] == 0
    drawn, same = (
        render_masks(shapes, np.full((len(SHAPES), 2), 24), np.full(len(SHAPES), 20), a, 48)
        for a in (angles, visible)
    )
    np.testing.assert_allclose(drawn, same, atol=1e-3)
    assert (visible_angles(shapes, visible * 0.999) == visible * 0.999).all()
