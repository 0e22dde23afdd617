"""Near duplicates are found, and other photos are none."""

import io

import numpy as np
import pytest
from PIL import Image

from memba_vision.datasets.vtab1k_tools.alike import groups_of_alike, look_of, pairs_of_alike


def scene(seed: int) -> Image.Image:
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(cells).resize((320, 240), Image.BICUBIC)


def look(image: Image.Image) -> bytes:
    return look_of(np.asarray(image.convert('RGB')))


def compressed(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, 'JPEG', quality=40)
    return Image.open(content)


@pytest.mark.parametrize(
    'change',
    [
        compressed,
        lambda image: image.resize((100, 75)),
        lambda image: image.point(lambda value: value * 0.97 + 2),
        lambda image: image.crop((2, 2, 319, 239)),
    ],
    ids=['compressed', 'smaller', 'darker', 'cropped'],
)
def test_copies_look_alike(change):
    for seed in range(5):
        looks = [look(scene(seed)), look(change(scene(seed)))]
        assert pairs_of_alike(looks, 8).tolist() == [[0, 1]]


def test_other_photos_do_not():
    looks = [look(scene(seed)) for seed in range(60)]
    assert pairs_of_alike(looks, 8).size == 0
    assert groups_of_alike(looks, ['a'] * 60) == (list(range(60)), True)


def test_plain_photos_differ_by_their_colour():
    looks = [look(Image.new('RGB', (20, 20), colour)) for colour in ('red', 'blue', 'red')]
    assert pairs_of_alike(looks, 8).tolist() == [[0, 2]]


def test_groups_go_over_several_photos():
    image = scene(0)
    looks = [look(image), look(scene(1)), look(compressed(image)), look(image.resize((90, 70)))]
    looks += [look(scene(seed)) for seed in range(2, 9)]
    groups, told_apart = groups_of_alike(looks, ['a'] * 11)
    assert told_apart
    assert groups[0] == groups[2] == groups[3] != groups[1]
    assert len(set(groups)) == 9


def test_looks_that_say_nothing():
    looks = [look(Image.new('RGB', (20, 20), 'white'))] * 8
    assert groups_of_alike(looks, ['a'] * 8) == (list(range(8)), False)
    assert pairs_of_alike(looks * 20, 8) is None
