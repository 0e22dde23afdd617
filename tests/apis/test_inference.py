"""Classes and features of images, from files and from memory."""

import os

import numpy as np
import pytest
import torch
from helpers import DEMO, as_arguments, run_tool, tiny_options
from PIL import Image

import memba_vision
from memba_vision.apis.predict import Predictor
from memba_vision.errors import UserError

TINY = dict(arch=dict(embed_dims=16, num_layers=1))


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return memba_vision.get_model('vim_mini_memba', num_classes=4, **TINY)


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    """Red at the top and blue at the bottom, so that turned colours are noticed."""
    pixels = np.zeros((60, 50, 3), np.uint8)
    pixels[:30, :, 0] = 250
    pixels[30:, :, 2] = 200
    return pixels


@pytest.fixture(scope='module')
def folder(picture, tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    Image.fromarray(picture).save(folder / 'a.png')
    Image.fromarray(255 - picture).save(folder / 'b.png')
    return folder


@pytest.fixture(scope='module')
def trained(base, data_root, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('run')
    options = as_arguments(tiny_options(base, data_root))
    assert run_tool('train', DEMO, '--work-dir', work_dir, *options).status == 0
    return work_dir / 'epoch_2.pth'


def test_files_pillow_images_and_arrays_give_the_same(model, picture, folder):
    inferencer = memba_vision.Inferencer(model, classes=['a', 'b', 'c', 'd'])
    path = folder / 'a.png'
    image = Image.fromarray(picture)
    transparent = image.convert('RGBA')
    answers = [inferencer(x)[0] for x in (path, str(path), picture, image, transparent)]
    for answer in answers:
        assert answer.keys() == {'pred_label', 'pred_class', 'pred_score', 'pred_scores'}
        assert np.array_equal(answer['pred_scores'], answers[0]['pred_scores'])
        assert answer['pred_class'] == 'abcd'[answer['pred_label']]
        assert answer['pred_score'] == answer['pred_scores'].max()
        assert answer['pred_scores'].sum() == pytest.approx(1)
    turned = inferencer(np.ascontiguousarray(picture[..., ::-1]))[0]
    assert not np.allclose(turned['pred_scores'], answers[0]['pred_scores'], atol=1e-4)


def test_a_pillow_image_gives_what_its_file_gives(model, picture, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    Image.fromarray(picture).save(tmp_path / 'a.jpg', exif=turned, quality=100)
    Image.fromarray(picture[..., :2].copy(), 'LA').save(tmp_path / 'b.png')
    for path in (tmp_path / 'a.jpg', tmp_path / 'b.png'):
        of_file, of_image = (
            memba_vision.extract_features(model, x) for x in (path, Image.open(path))
        )
        assert torch.equal(of_file, of_image), path.name


def test_a_folder_is_read_in_the_order_of_names(model, folder, monkeypatch):
    backwards = list(os.scandir(folder))[::-1]
    expected = memba_vision.Inferencer(model)(sorted(folder.iterdir()))
    for entries in (backwards, backwards[::-1]):
        with monkeypatch.context() as patch:
            patch.setattr(os, 'scandir', lambda path, e=entries: iter(e))
            answers = memba_vision.Inferencer(model)(str(folder))
        for answer, wanted in zip(answers, expected, strict=True):
            assert np.array_equal(answer['pred_scores'], wanted['pred_scores'])


def test_paths_are_drawn_as_their_texts(model, folder, tmp_path):
    inferencer = memba_vision.Inferencer(model)
    inferencer([folder / 'a.png'], show_dir=str(tmp_path / 'paths'))
    inferencer([str(folder / 'a.png')], show_dir=str(tmp_path / 'texts'))
    (path,), (text,) = (list((tmp_path / name).iterdir()) for name in ('paths', 'texts'))
    assert path.name == text.name
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(text)))


def test_batches_folders_and_mixtures(model, picture, folder, capsys):
    inferencer = memba_vision.Inferencer(model)
    one, other = inferencer([picture, 255 - picture])
    for images in (np.stack([picture, 255 - picture]), [folder / 'a.png', 255 - picture], folder):
        found = inferencer(images, batch_size=1)
        assert [f['pred_label'] for f in found] == [one['pred_label'], other['pred_label']]
        np.testing.assert_allclose(found[1]['pred_scores'], other['pred_scores'], atol=1e-6)
    assert one['pred_class'] == str(one['pred_label'])
    assert inferencer([]) == []
    assert capsys.readouterr().out == ''


def test_pictures_of_the_answers(model, picture, folder, tmp_path):
    memba_vision.Inferencer(model)(
        [str(folder / 'a.png'), Image.fromarray(picture)], show_dir=tmp_path
    )
    assert {path.name for path in tmp_path.iterdir()} == {'a.png', '1.png'}


def test_a_checkpoint_by_its_path(trained, folder):
    inferencer = memba_vision.Inferencer(trained)
    answer = inferencer(folder / 'a.png')[0]
    prediction = next(Predictor(str(trained))([folder / 'a.png']))
    assert answer['pred_label'] == prediction.label
    assert answer['pred_class'] == prediction.classes[0][0]
    assert answer['pred_score'] == pytest.approx(prediction.classes[0][1])
    assert len(inferencer.classes) == 10


def test_features(model, picture, folder):
    features = memba_vision.extract_features(model, [picture, folder / 'a.png', 255 - picture], 2)
    assert features.shape == (3, 16)
    assert torch.equal(features[0], features[1])
    assert not torch.allclose(features[0], features[2])
    logits = model.head.fc(features[:1]).softmax(-1)[0]
    expected = memba_vision.Inferencer(model)(picture)[0]['pred_scores']
    np.testing.assert_allclose(logits.detach(), expected, atol=1e-6)
    maps = memba_vision.get_model(
        'vim_mini', arch=dict(embed_dims=8, num_layers=3), out_type='featmap', out_indices=(0, -1)
    )
    first, last = memba_vision.extract_features(maps, picture)
    assert first.shape == last.shape == (1, 8, 6, 6)


def test_what_is_no_image(model, folder):
    inferencer = memba_vision.Inferencer(model)
    (folder / 'c.txt').write_text('no image')
    for bad in (folder / 'c.txt', 'nowhere.png'):
        with pytest.raises(UserError, match=f'cannot read image {bad}'):
            inferencer(bad)
    (folder / 'c.txt').unlink()
    with pytest.raises(UserError, match=r'got \(5, 5\) of float64'):
        inferencer([np.zeros((5, 5))])
