"""The scenes that the small models of mini-VTAB 2 are pre-trained on."""

import gzip

import numpy as np
import pytest
import torch

from memba_vision.datasets import SourceScenes
from memba_vision.datasets.source_scenes import glyphs, things
from memba_vision.datasets.source_scenes.glyphs import GLYPH_SIZE, HELD_OUT, draw_glyphs
from memba_vision.datasets.source_scenes.render import Placement, colours, grating, place
from memba_vision.datasets.source_scenes.scenes import FACTORS


@pytest.mark.slow
def test_every_class_has_pictures_of_several_fonts():
    drawn = draw_glyphs()
    counts = np.bincount(drawn.classes)
    assert len(counts) == len(drawn.characters) > 900
    assert counts.min() >= 6
    assert drawn.pictures.shape == (len(drawn.classes), GLYPH_SIZE, GLYPH_SIZE)


@pytest.mark.parametrize('character', [*HELD_OUT, *'aé①Ⅷ℃', *'\u0391\u0410\u03a7\uff10\U0001d401'])
def test_characters_of_the_tasks_and_their_likes_are_not_among_them(character):
    assert character not in draw_glyphs().characters


@pytest.mark.parametrize('character', 'ΣЖ€♠')
def test_others_are(character):
    assert character in draw_glyphs().characters


def test_no_picture_looks_like_a_held_out_one():
    drawn = draw_glyphs()
    font = glyphs._fonts()[0]
    held_out = np.stack([glyphs._normalised(glyphs._draw(font, c)) for c in HELD_OUT])
    for picture in drawn.pictures[::50]:
        assert (held_out @ glyphs._normalised(picture)).max() < 0.97


def test_a_seed_and_an_index_give_one_batch():
    first, again = (SourceScenes(2, batch_size=3, seed=5, device='cpu') for _ in range(2))
    for index in range(2):
        for key in ('inputs', 'data_samples'):
            assert torch.equal(first[index][key], again[index][key])
    assert not torch.equal(first[0]['inputs'], first[1]['inputs'])
    other = SourceScenes(2, batch_size=3, seed=6, device='cpu')
    assert not torch.equal(first[0]['inputs'], other[0]['inputs'])
    with pytest.raises(IndexError):
        first[2]


def test_labels_are_in_range_and_all_occur():
    dataset = SourceScenes(1, batch_size=600, device='cpu')
    batch = dataset[0]
    assert batch['inputs'].shape == (600, 3, 48, 48)
    assert batch['inputs'].dtype == torch.uint8
    kinds, *factors = batch['data_samples'].T
    assert kinds.min() >= 0
    assert kinds.max() < dataset._scenes.num_kinds
    for label, classes in zip(factors, FACTORS.values(), strict=True):
        assert label.unique().tolist() == list(range(classes))


def test_the_config_has_as_many_classes():
    from helpers import CONFIGS

    from memba_vision.runs.config import load_config

    config = load_config(str(CONFIGS / 'pretrain' / 'vim-mini-v2_scenes.py'), {}, None)
    kinds = SourceScenes(1, device='cpu')._scenes.num_kinds
    assert config.model.head.num_classes == {'kind': kinds, **FACTORS}


def place_one(picture: torch.Tensor, size: int = 20, **pose: float) -> torch.Tensor:
    values = {'x': 10, 'y': 10, 'radius': 5, 'turn': 0, 'yaw': 0, **pose}
    placement = Placement(*(torch.tensor([float(values[name])]) for name in Placement._fields))
    return place(picture[None, None], placement, size)[0, 0]


def test_an_upright_picture_is_shown_as_it_is():
    picture = torch.rand(10, 10)
    shown = place_one(picture)
    torch.testing.assert_close(shown[5:15, 5:15], picture)
    assert (shown == 0).sum() == 20 * 20 - 10 * 10


def test_a_quarter_turn_is_clockwise():
    picture = torch.rand(10, 10)
    shown = place_one(picture, turn=torch.pi / 2)[5:15, 5:15]
    torch.testing.assert_close(shown, picture.rot90(-1), atol=1e-5, rtol=0)


def test_a_turned_plane_is_narrower_and_its_near_edge_taller():
    shown = place_one(torch.ones(40, 40), size=60, x=30, y=30, radius=20, yaw=1.0)
    columns = (shown > 0.5).sum(0)
    there = columns.nonzero().flatten()
    assert len(there) < 30
    assert columns[there[0] + 1] != columns[there[-1] - 1]


def test_colours_are_those_of_the_standard_library():
    import colorsys

    parts = torch.rand(3, 50, dtype=torch.float64)
    ours = colours(*parts)[:, :, 0, 0]
    theirs = [colorsys.hsv_to_rgb(*row) for row in parts.T.tolist()]
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64))


def test_stripes_have_their_direction_and_period():
    ones = torch.ones(1)
    stripes = grating(0 * ones, 8 * ones, 0 * ones, 16)[0, 0]
    torch.testing.assert_close(stripes[0], stripes[7])
    torch.testing.assert_close(stripes[:, :8], stripes[:, 8:], atol=1e-5, rtol=0)


def test_photographs_are_read_and_shown(tmp_path, monkeypatch):
    images = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)
    (tmp_path / 'train-images-idx3-ubyte.gz').write_bytes(
        gzip.compress(bytes(16) + images.tobytes())
    )
    (tmp_path / 'train-labels-idx1-ubyte.gz').write_bytes(gzip.compress(bytes(8) + b'\1\2\7'))
    pictures, classes = things.read_things(tmp_path)
    assert pictures.shape == (3, GLYPH_SIZE, GLYPH_SIZE)
    assert classes.tolist() == [1, 2, 7]
    monkeypatch.setattr(things, 'read_things', lambda: (pictures, classes))
    dataset = SourceScenes(1, batch_size=60, device='cpu')
    kinds = dataset[0]['data_samples'][:, 0] - (dataset._scenes.num_kinds - things.NUM_CLASSES)
    assert set(kinds[kinds >= 0].tolist()) == {1, 2, 7}


def test_without_photographs_there_are_glyphs_alone(tmp_path, monkeypatch):
    assert things.read_things(tmp_path) is None
    monkeypatch.setattr(things, 'read_things', lambda: None)
    dataset = SourceScenes(1, batch_size=60, device='cpu')
    glyph_classes = dataset._scenes.num_kinds - things.NUM_CLASSES
    assert dataset[0]['data_samples'][:, 0].max() < glyph_classes
