"""The nine tasks of the second mini-VTAB: what is in them, and what must not be."""

from collections import Counter
from time import process_time

import numpy as np
import pytest
from PIL import ImageFont
from scipy.ndimage import center_of_mass, label
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from memba_vision.datasets import MiniVTAB
from memba_vision.datasets.mini_vtab import (
    azimuth,
    cells,
    counting,
    fonts,
    nearest_distance,
    orientation,
    splits,
    street_digits,
    write,
)
from memba_vision.datasets.mini_vtab.canvas import draw_contrasting_colors, halve
from memba_vision.datasets.mini_vtab.classes import CLASS_NAMES
from memba_vision.datasets.mini_vtab.noise import random_cells, smooth_noise
from memba_vision.datasets.mini_vtab.placement import place_apart
from memba_vision.datasets.mini_vtab.solids import FAR, hit_box, hit_ellipsoid
from memba_vision.datasets.tasks import MINI2_TASKS
from memba_vision.errors import UserError

RENDERED = [task for task in MINI2_TASKS.values() if task.name != 'street_digits']
rendered_tasks = pytest.mark.parametrize('task', RENDERED, ids=lambda task: task.name)
every_task = pytest.mark.parametrize('task', MINI2_TASKS.values(), ids=lambda task: task.name)

#: What a classifier of colours and contrasts may reach above chance, in percent: where things are
#: counted, or nuclei are many, or near things large, some of it is in the contrast.
MOST_GIVEN_AWAY = {
    **{'cells': 18, 'terrain': 22, 'counting': 18, 'nearest_distance': 14, 'textures': 8},
    **{'letters': 3, 'street_digits': 5, 'orientation': 4, 'azimuth': 5},
}
SECONDS = 10  # of one processor, for a task; none takes half of it when little else runs


@pytest.fixture
def few(monkeypatch):
    """Let splits be small: 26 images for training, 13 for validation, 26 for testing."""
    sizes = {'train800': 26, 'val200': 13, 'test': 26}
    monkeypatch.setattr(splits, 'split_sizes', lambda task: sizes)


# Each task


@rendered_tasks
def test_classes_are_balanced_and_images_differ(task, few):
    made = write.MAKERS[task.name]()
    for split in made.values():
        assert split.images.shape == (len(split.labels), 48, 48, 3)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64)
        counts = np.bincount(split.labels, minlength=task.num_classes)
        assert len(counts) == task.num_classes
        assert counts.max() - counts.min() <= 1
        assert (split.images.std((1, 2, 3)) > 4).all(), 'a blank image'
    images = [image.tobytes() for split in made.values() for image in split.images]
    assert len(set(images)) == len(images) == 26 + 13 + 26


@rendered_tasks
def test_equal_seeds_draw_equal_images(task, few):
    first, second = (write.MAKERS[task.name]() for _ in range(2))
    other = write.MAKERS[task.name](seed=99)
    for name, split in first.items():
        assert (split.images == second[name].images).all()
        assert (split.labels == second[name].labels).all()
        assert (split.images != other[name].images).any()


@every_task
def test_every_class_has_a_name(task):
    assert len(set(CLASS_NAMES[task.name])) == task.num_classes


def test_the_dataset_knows_the_names_of_the_classes(tmp_path, few):
    dataset = MiniVTAB('terrain', str(tmp_path), 'val200')
    assert dataset.CLASSES[:2] == ('forest', 'crops')
    assert len(dataset) == 13


@pytest.fixture(scope='module')
def whole():
    """Every task as it is written, and the seconds that it took."""
    made = {}
    for task in MINI2_TASKS:
        start = process_time()
        made[task] = write.MAKERS[task](), process_time() - start
    return made


@pytest.mark.slow
@every_task
def test_a_whole_task_is_made_soon_and_has_no_image_twice(task, whole):
    made, seconds = whole[task.name]
    assert seconds < SECONDS
    sizes = {name: len(split.labels) for name, split in made.items()}
    assert sizes == {'train800': 800, 'val200': 200, 'test': task.num_test}
    images = [image.tobytes() for split in made.values() for image in split.images]
    assert len(set(images)) == sum(sizes.values())
    for name, split in made.items():
        counts = Counter(split.labels.tolist())
        apart = 9 if (task.name, name) == ('street_digits', 'test') else 1
        assert len(counts) == task.num_classes
        assert max(counts.values()) - min(counts.values()) <= apart


@pytest.mark.slow
@every_task
def test_colour_and_contrast_do_not_give_the_label_away(task, whole):
    made, _ = whole[task.name]

    def statistics(split: splits.Split) -> np.ndarray:
        images = split.images / 255.0
        return np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(statistics(made['train800']), made['train800'].labels)
    accuracy = 100 * model.score(statistics(made['test']), made['test'].labels)
    assert accuracy < 100 / task.num_classes + MOST_GIVEN_AWAY[task.name]


# Labels


def test_as_many_things_are_drawn_as_the_label_says():
    numbers = np.arange(1, 9).repeat(4)
    masks, _ = counting.draw_things(np.random.default_rng(0), numbers)
    drawn = [label(mask > 0.5, np.ones((3, 3)))[1] for mask in masks.max(0)]
    assert drawn == numbers.tolist()
    assert (masks.sum(0) <= 1 + 1e-5).all(), 'things overlap'


def test_shapes_point_where_the_label_says():
    labels = np.arange(16).repeat(12)
    masks, kinds = orientation.draw_shapes(np.random.default_rng(0), labels)
    assert len(set(kinds)) == len(orientation.POINTING)
    upright = [_upright(draw) for draw in orientation.POINTING.values()]
    for mask, kind, direction in zip(masks, kinds, labels, strict=True):
        # The longer axis has no head: it turns by the label, up to half a turn.
        turned = np.rad2deg(_axis(mask) - _axis(upright[kind])) - direction * 22.5
        assert abs((turned + 90) % 180 - 90) < 0.5 * 22.5, (kind, direction)
        # The side of the head has the longer or the shorter tail, as in the upright shape.
        expected = _skewness(upright[kind], 0)
        if abs(expected) > 0.2:
            skewness = _skewness(mask, direction * np.pi / 8)
            assert skewness == pytest.approx(expected, abs=0.15), (kind, direction)


def _upright(draw) -> np.ndarray:
    # A mask that is made without a rotation; rows go down.
    y, x = np.mgrid[1:-1:96j, -1:1:96j].astype(np.float32)
    return (draw(x, y) < 0) * 1.0


def _axis(mask: np.ndarray) -> float:
    # The angle of the longer axis of a mask's ellipse of inertia, counter-clockwise from the right.
    row, column = center_of_mass(mask)
    y, x = row - np.arange(len(mask))[:, None], np.arange(len(mask)) - column
    xx, yy, xy = ((mask * moment).sum() for moment in (x * x, y * y, x * y))
    return 0.5 * np.arctan2(2 * xy, xx - yy)


def _skewness(mask: np.ndarray, angle: float) -> float:
    # Of the mass along a direction that is turned counter-clockwise from up.
    row, column = center_of_mass(mask)
    y, x = row - np.arange(len(mask))[:, None], np.arange(len(mask)) - column
    along = y * np.cos(angle) - x * np.sin(angle)
    square, cube = ((mask * along**power).sum() / mask.sum() for power in (2, 3))
    return cube / square**1.5


def test_the_nearest_solid_is_as_far_away_as_the_label_says():
    labels = np.arange(6).repeat(50)
    scene = nearest_distance.draw_scene(np.random.default_rng(0), labels)
    distances = np.where(scene.present, scene.distances, np.inf)
    assert (np.digitize(distances.min(1), nearest_distance.EDGES) - 1 == labels).all()
    assert scene.present[:, 0].all()
    assert set(scene.present.sum(1)) == {1, 2, 3, 4}


def test_true_size_does_not_tell_the_distance():
    labels = np.arange(6).repeat(200)
    scene = nearest_distance.draw_scene(np.random.default_rng(0), labels)
    assert abs(np.corrcoef(labels, scene.heights[:, 0])[0, 1]) < 0.1


def test_solids_face_where_the_label_says():
    rng = np.random.default_rng(0)
    part = azimuth.Part('box', (0.7, 0, 0), (0.15, 0.1, 0.1))
    body = azimuth.Part('ellipsoid', (0, 0, 0), (0.3, 0.3, 0.3))
    for name, angle, side in (('right', 0, 1), ('left', np.pi, -1)):
        angles = np.full((20, 1, 1), angle, np.float32)
        _, _, numbers = azimuth._see(rng, (body, part), angles)
        mask, _, alone = azimuth._see(np.random.default_rng(1), (body, part), angles)
        columns = np.arange(mask.shape[2])
        front = ((alone == 1) * columns).sum((1, 2)) / (alone == 1).sum((1, 2))
        middle = (mask * columns).sum((1, 2)) / mask.sum((1, 2))
        assert (np.sign(front - middle) == side).all(), name
        assert (numbers == 1).any((1, 2)).all()


def test_solids_look_different_from_every_side():
    for name, parts in azimuth.SOLIDS.items():
        angles = np.deg2rad(np.arange(0, 360, 30, np.float32))
        seen = [
            azimuth._see(np.random.default_rng(3), parts, np.array([[[angle]]]))[0][0]
            for angle in angles
        ]
        for first in range(12):
            for second in range(first):
                differing = (seen[first] != seen[second]).mean()
                assert differing > 0.003, (name, first, second)


def test_nuclei_are_as_many_and_as_regular_as_the_grade_says():
    grades = np.arange(4).repeat(200)
    nuclei = cells.draw_middle(np.random.default_rng(0), grades)
    numbers = (nuclei.radii > 0).sum(1).reshape(4, 200)
    assert numbers[::2].max() <= 5 < 7 <= numbers[1::2].min()
    is_odd = (nuclei.lengths > 1.1).reshape(4, -1)
    assert not is_odd[:2].any()
    assert is_odd[2:].all()
    area = [(nuclei.radii[grades == grade] ** 2).sum() for grade in range(4)]
    np.testing.assert_allclose([area[2] / area[0], area[3] / area[1]], 0.9, atol=0.1)


# What training must not see


def test_no_digit_is_in_two_splits():
    divided = street_digits.divide_digits(12)
    sizes = {name: np.bincount(labels).tolist() for name, (_, labels) in divided.items()}
    assert sizes['train800'] == [80] * 10
    assert sizes['val200'] == [20] * 10
    digits = [digit.tobytes() for images, _ in divided.values() for digit in images]
    assert len(set(digits)) == len(digits) == 1797


def test_the_fonts_of_testing_are_unseen():
    faces = [set(fonts.FAMILIES[family]) for family in fonts.FAMILIES]
    assert sum(map(len, faces)) == len(set.union(*faces)) == 21
    assert not set(fonts.TEST_FAMILIES) & set(fonts.TRAIN_FAMILIES)
    assert {*fonts.TEST_FAMILIES, *fonts.TRAIN_FAMILIES} == set(fonts.FAMILIES)
    assert len(fonts.TEST_FAMILIES) == round(len(fonts.FAMILIES) / 3)


def test_glyphs_of_all_faces_differ():
    fields = fonts.glyph_fields(('Computer Modern Sans', 'Computer Modern Typewriter'), 'AIR')
    assert [field.shape for field in fields] == [(1, 3, 80, 80)] * 2
    inside = np.concatenate(fields).reshape(6, -1) < 0
    assert len(np.unique(inside, axis=0)) == 6
    assert (inside.mean(1) > 0.02).all()


def test_glyphs_do_not_depend_on_libraries_of_the_system():
    face = fonts.FAMILIES['Computer Modern Sans'][0]
    assert fonts._load(face, 240).layout_engine == ImageFont.Layout.BASIC


def test_fonts_that_are_missing_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(fonts, '_folder', lambda: tmp_path)
    fonts._glyph_field.cache_clear()
    fonts._load.cache_clear()
    with pytest.raises(UserError, match=r'no font .*DejaVuSans.ttf.*reinstall matplotlib'):
        write.ensure_task(tmp_path / 'data', 'letters')
    assert not (tmp_path / 'data' / 'letters').exists()


# What they are drawn with


def test_noise_is_smooth_and_repeats():
    y, x = np.mgrid[-2:2:41j, -2:2:41j].astype(np.float32)[:, None]
    drawn = smooth_noise(np.random.default_rng(0), x, y)
    again = smooth_noise(np.random.default_rng(0), x + 32, y - 64)
    assert 0 <= drawn.min() < drawn.max() <= 1
    assert np.abs(np.diff(drawn, axis=2)).max() < 0.2
    np.testing.assert_allclose(drawn, again, atol=1e-5)


def test_cells_are_those_of_the_nearest_point():
    y, x = np.mgrid[0:4:33j, 0:4:33j].astype(np.float32)[:, None]
    found = random_cells(np.random.default_rng(0), x, y)
    points = np.stack([x - found.right, y - found.down], -1).reshape(-1, 2)
    points = np.unique(points.round(3), axis=0)
    places = np.stack([x, y], -1).reshape(-1, 1, 2)
    distances = np.sort(np.hypot(*(places - points).transpose(2, 0, 1)), axis=1)
    np.testing.assert_allclose(found.nearest.reshape(-1), distances[:, 0], atol=2e-3)
    assert (found.second >= found.nearest).all()


def test_discs_do_not_touch():
    radii = np.full((50, 8), 4.0)
    radii[:25, 5:] = 0
    centers, placed = place_apart(np.random.default_rng(0), radii, 48, gap=1)
    assert not placed[:25, 5:].any()
    assert placed[:, 0].all()
    for disc in range(8):
        for other in range(disc):
            both = placed[:, disc] & placed[:, other]
            apart = np.hypot(*(centers[both, disc] - centers[both, other]).T)
            assert (apart >= 9).all()


def test_rays_meet_solids_where_they_should():
    one = np.ones((1, 1, 1), np.float32)
    aside = np.array([[[0.0, 0.5, 2.0]]], np.float32)
    origin, ahead = (aside, -5 * one, 0 * one), (0 * one, one, 0 * one)
    for hit, at_half in ((hit_box, 4.0), (hit_ellipsoid, 5 - np.sqrt(0.75))):
        hits = hit(origin, ahead, (one, one, one))
        np.testing.assert_allclose(hits.depth[0, 0], [4, at_half, FAR], rtol=1e-5)
        normal = [np.broadcast_to(part, (1, 1, 3))[0, 0, 0] for part in hits.normal]
        np.testing.assert_allclose(normal, [0, -1, 0], atol=1e-5)


def test_contrasting_colours_contrast():
    rng = np.random.default_rng(0)
    others = rng.random((500, 3, 1, 1), np.float32)
    colors = draw_contrasting_colors(rng, others, 0.45)
    assert (np.sqrt(((colors - others) ** 2).sum(1)) >= 0.45).mean() > 0.99


def test_halved_images_are_means():
    images = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    assert halve(images).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
