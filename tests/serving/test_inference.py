"""Classes and features of images, from files and from memory."""

import os
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import DEMO, as_arguments, run_tool, tiny_options
from PIL import Image

import memba_vision
from memba_vision.datasets.vtab1k_tools.folders import walk_images
from memba_vision.errors import UserError
from memba_vision.models.peft import FoldedBackbone, PEFTModel
from memba_vision.serving.images import images_in_folder
from memba_vision.serving.predict import Predictor

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


def test_two_files_of_one_name_are_kept_apart(model, picture, tmp_path):
    files = [tmp_path / 'a/x.png', tmp_path / 'b/x.png', tmp_path / 'a/x.y.png']
    for number, path in enumerate(files):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture // (number + 1)).save(path)
    memba_vision.Inferencer(model)(files, show_dir=tmp_path / 'new/out')
    shown = {path.name: Image.open(path) for path in (tmp_path / 'new/out').iterdir()}
    assert shown.keys() == {'1_x.png', '2_x.png', '3_x.y.png'}
    brightness = [np.asarray(shown[name])[-1].mean() for name in sorted(shown)]
    assert brightness == sorted(brightness, reverse=True)


def test_pictures_show_what_the_model_read(model, picture, tmp_path):
    path, out = tmp_path / 'a.png', tmp_path / 'out'
    Image.fromarray(picture.astype(np.uint16)[..., 0] * 257).save(path)
    memba_vision.Inferencer(model)([path, path.read_bytes()], show_dir=out)
    drawn, of_bytes = (np.asarray(Image.open(out / name)) for name in ('a.png', '1.png'))
    assert np.array_equal(drawn, of_bytes)
    assert drawn[-1].mean() == 0
    assert drawn[drawn.shape[0] // 2 - 2].mean() == pytest.approx(250, abs=2)


def test_of_a_folder_the_images_are_taken_and_the_rest_is_said(model, folder, tmp_path):
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    expected = memba_vision.Inferencer(model)(folder)
    for name in ('notes.csv', '.hidden.png', 'README'):
        (tmp_path / name).write_text('no image')
    (tmp_path / 'c.png').mkdir()
    (tmp_path / os.fsdecode(b'caf\xe9.txt')).write_text('no image')
    said = r'2 image\(s\) taken, left out 5: \.hidden\.png, README, c\.png, caf.*, notes'
    with pytest.warns(UserWarning, match=said) as warned:
        found = memba_vision.Inferencer(model)(str(tmp_path))
    assert [f['pred_label'] for f in found] == [f['pred_label'] for f in expected]
    assert warned[0].filename == __file__
    (tmp_path / 'a.png').unlink()
    (tmp_path / 'b.png').unlink()
    with pytest.raises(UserError, match='holds no image'):
        memba_vision.Inferencer(model)(tmp_path)


def test_folders_and_images_in_one_list(model, picture, folder):
    inferencer = memba_vision.Inferencer(model)
    one, other = inferencer(folder)
    found = inferencer([folder, 255 - picture, str(folder)])
    expected = [one, other, other, one, other]
    assert [f['pred_label'] for f in found] == [f['pred_label'] for f in expected]


def test_of_a_folder_the_images_are_those_that_a_task_is_built_of(model, folder, tmp_path):
    names = ('a', 'b.jfif', 'c.part', 'd.NEF', '._a.png', 'e.txt')
    for name in names[:-1]:
        shutil.copy(folder / 'a.png', tmp_path / 'x.png')
        (tmp_path / 'x.png').rename(tmp_path / name)
    (tmp_path / 'e.txt').write_text('P6 is no image')
    found, said = images_in_folder(tmp_path)
    assert [os.path.basename(path) for path in found] == ['a', 'b.jfif', 'c.part']
    assert said.endswith('3 image(s) taken, left out 3: ._a.png, d.NEF, e.txt')
    expected = sorted(walk_images(tmp_path, []))
    assert found == [str(path) for path in expected]


@pytest.mark.parametrize('place', ['missing.pth', 'no/such', Path('missing')])
def test_a_checkpoint_that_is_not_there(place):
    with pytest.raises(UserError, match=f'no checkpoint at {re.escape(str(place))}: give the path'):
        memba_vision.Inferencer(place)


def test_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r'no checkpoint in .*: train first'):
        memba_vision.Inferencer(tmp_path)


def test_a_name_of_no_model():
    with pytest.raises(UserError, match="no model 'missing'"):
        memba_vision.Inferencer('missing')


def test_a_checkpoint_by_its_path(trained, folder):
    inferencer = memba_vision.Inferencer(trained)
    answer = inferencer(folder / 'a.png')[0]
    prediction = next(Predictor(str(trained))([folder / 'a.png']))
    assert answer['pred_label'] == prediction.label
    assert answer['pred_class'] == prediction.classes[0][0]
    assert answer['pred_score'] == pytest.approx(prediction.classes[0][1])
    assert len(inferencer.classes) == 10


def test_what_is_loaded_is_folded_and_what_is_given_stays_as_it_is(trained, folder):
    loaded = memba_vision.load_trained(trained)
    given, by_path = memba_vision.Inferencer(loaded), memba_vision.Inferencer(trained)
    assert given.model is loaded and isinstance(loaded.backbone, PEFTModel)
    for folded in (by_path.model, Predictor(str(trained)).model):
        assert isinstance(folded.backbone, FoldedBackbone)
    for one, other in zip(given(folder), by_path(folder), strict=True):
        np.testing.assert_allclose(one['pred_scores'], other['pred_scores'], atol=1e-5)


def test_a_device_that_is_not_there(trained):
    for call in (memba_vision.load_trained, memba_vision.Inferencer):
        with pytest.raises(UserError, match=r"device 'nonsense' cannot be used"):
            call(trained, device='nonsense')


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


def test_features_are_those_of_the_evaluation_and_leave_the_mode(model, picture):
    expected = memba_vision.extract_features(model.eval(), picture)
    head = model.train().head.eval()
    try:
        assert torch.equal(memba_vision.extract_features(model, picture), expected)
        assert model.training and model.backbone.training and not head.training
    finally:
        model.eval()


def test_what_is_no_image(model, folder):
    inferencer = memba_vision.Inferencer(model)
    (folder / 'c.txt').write_text('no image')
    reasons = {
        folder / 'c.txt': ': it is a text file$',
        'nowhere.png': ': No such file or directory$',
        '': ': No such file or directory$',
    }
    for bad, reason in reasons.items():
        with pytest.raises(UserError, match=f'cannot read image {bad}{reason}'):
            inferencer(bad)
    (folder / 'c.txt').unlink()
    with pytest.raises(UserError, match='cannot read image of 8 bytes'):
        inferencer(b'no image')
    with pytest.raises(UserError, match='at least one pixel'):
        inferencer(np.zeros((0, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r'got \(5, 5\) of float64'):
        inferencer([np.zeros((5, 5))])


@pytest.mark.parametrize('channels', [1, 4])
def test_a_model_of_other_channels(channels, picture, folder):
    other = memba_vision.get_model('vim_mini', num_classes=4, in_channels=channels, **TINY)
    message = rf'takes images of {channels} channel\(s\), its pipeline makes 3: .*in_channels=3'
    for image in (picture, folder / 'a.png'):
        for call in (memba_vision.Inferencer(other), partial(memba_vision.extract_features, other)):
            with pytest.raises(UserError, match=message):
                call(image)


@pytest.mark.parametrize('classes', ['abcd', [], ['a', 'b', 'c'], list('abcde')])
def test_other_names_than_outputs(model, classes):
    with pytest.raises(UserError, match=r'a name for each output is needed|give a list of names'):
        memba_vision.Inferencer(model, classes=classes)


def test_arguments_out_of_range(model, picture):
    inferencer = memba_vision.Inferencer(model)
    for batch_size in (0, -1, 1.5, 'a'):
        for call in (inferencer, partial(memba_vision.extract_features, model)):
            with pytest.raises(UserError, match='batch_size must be at least 1'):
                call(picture, batch_size=batch_size)
    for other in (None, 7, torch.nn.Linear(2, 2)):
        with pytest.raises(UserError, match=f'model is a path.*got {type(other).__name__}'):
            memba_vision.Inferencer(other)
    with pytest.raises(
        UserError, match=r"device 'nonsense' cannot be used .*: this machine has cpu"
    ):
        memba_vision.Inferencer(model, device='nonsense')
    with pytest.raises(UserError, match='there is no image'):
        memba_vision.extract_features(model, [])
    with pytest.raises(UserError, match=r'Is a directory$'):
        memba_vision.extract_features(model, '.')


def test_a_model_works_after_it_could_not_be_moved(model, picture):
    with pytest.raises(UserError, match='cannot be used'):
        memba_vision.Inferencer(model, device='cuda:99')
    assert memba_vision.Inferencer(model)(picture)


def test_names_of_any_kind(model):
    for classes in (range(4), (str(number) for number in range(4)), np.arange(4)):
        assert memba_vision.Inferencer(model, classes=classes).classes == list('0123')


def test_pictures_cannot_lie_in_a_file(model, picture, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='file is no folder'):
        memba_vision.Inferencer(model)(picture, show_dir=tmp_path / 'file')
