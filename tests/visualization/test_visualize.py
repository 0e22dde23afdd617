"""The tool, its pictures, and its page in a browser."""

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import page_errors
from helpers import CONFIGS, run_tool
from membrane_runs import make_run
from PIL import Image
from selenium.webdriver.common.by import By

from memba_vision.runs.checkpoints import find_checkpoint
from memba_vision.serving.visualize import (
    choose_layers,
    file_names,
    trace_image,
    trained_subject,
)
from memba_vision.visualization import figures
from memba_vision.visualization.page import CAPTIONS


def visualize(*arguments: object) -> Path:
    """The folder that the tool wrote."""
    outcome = run_tool('visualize', *arguments)
    assert outcome.status == 0, outcome
    page = Path(re.search(r'^Open (.+) in a browser', outcome.out, re.MULTILINE)[1])
    return page.parent


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert('RGB')).astype(int)


@pytest.fixture(scope='module')
def out(run, gate_run, image, tmp_path_factory) -> Path:
    """What the tool made of one image and two runs, one layer of each."""
    folder = tmp_path_factory.mktemp('out')
    return visualize(
        image, '--run', run, '--compare', gate_run, '--layers', 0, '--out', folder / 'new'
    )


def test_every_figure_is_a_png_beside_the_page(out):
    names = {f'slope_{name}.png' for name in figures.FIGURES}
    assert {path.name for path in out.iterdir()} == names | {'index.html'}
    for name in names:
        assert pixels(out / name).std() > 5, f'{name} is empty'


def test_every_figure_is_explained():
    assert list(CAPTIONS) == list(figures.FIGURES)


def test_the_page_needs_no_other_file(out):
    text = (out / 'index.html').read_text(encoding='utf-8')
    assert set(re.findall(r'(?:src|srcset|href)="(\w+:)', text)) == {'data:'}
    assert not re.search(r'https?://|@import|url\(', text)
    assert '<script' not in text
    assert 'digits_memba/epoch_20.pth' in text
    assert 'digits_memba-gate/epoch_20.pth' in text
    assert 'the whole gate' in text


@pytest.mark.browser
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_page_in_a_browser(out, browser, scheme):
    features = [{'name': 'prefers-color-scheme', 'value': scheme}]
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': features})
    browser.get((out / 'index.html').as_uri())
    assert page_errors(browser) == []
    images = browser.find_elements(By.TAG_NAME, 'img')
    assert len(images) == len(figures.FIGURES)
    assert all(int(image.get_property('naturalWidth')) > 300 for image in images)
    corner = "const c = document.createElement('canvas').getContext('2d');"
    corner += 'c.drawImage(arguments[0], 0, 0); return c.getImageData(0, 0, 1, 1).data[0];'
    surface = figures.LIGHT.surface if scheme == 'light' else figures.DARK.surface
    assert browser.execute_script(corner, images[0]) == int(surface[1:3], 16)
    width = 'return document.documentElement.scrollWidth - window.innerWidth'
    assert browser.execute_script(width) <= 0, 'the page is wider than the window'


def test_compared_models_share_their_scale(run, gate_run, image):
    """The figure of two has the colours of both: the lowest potential is the lowest of both."""
    traces = [
        trace_image(trained_subject(str(find_checkpoint(folder)), None, 'cpu'), str(image))
        for folder in (run, gate_run)
    ]
    figure = figures.potential_figure(traces, [0, 1], figures.LIGHT)
    shown = [figure.subfigs[i].axes[j].images[-1].get_clim() for i in (0, 1) for j in (1, 2, 4, 5)]
    assert len(set(shown)) == 1
    values = np.concatenate([layer.potential.flatten() for t in traces for layer in t.layers])
    assert shown[0] == pytest.approx((values.min(), values.max()))


def test_the_map_of_the_figure_lies_on_the_image(run, image):
    subject = trained_subject(str(find_checkpoint(run)), None, 'cpu')
    trace = trace_image(subject, str(image))
    figure = figures.potential_figure([trace], [1], figures.LIGHT)
    _, forward, _, backward = figure.subfigs[0].axes[:4]
    for axis, expected in zip(
        (forward, backward), trace.grids[0].to_maps(trace.layers[1].potential), strict=True
    ):
        below, heat = axis.images
        assert np.array_equal(heat.get_array(), expected.numpy())
        assert tuple(heat.get_extent()) == (0, 48, 48, 0)
        assert below.get_array().shape == (48, 48)
    assert trace.pixels.shape == (48, 48, 3)
    left, right = trace.pixels[:, :8].mean(), trace.pixels[:, -8:].mean()
    assert left < 0.1
    assert right > 0.9


def test_classes_are_named_as_in_predictions(out, run, image):
    outcome = run_tool('predict', image, '--checkpoint', run / 'epoch_20.pth')
    name, probability = outcome.out.splitlines()[1].split(',')[1:]
    text = (out / 'index.html').read_text(encoding='utf-8')
    assert f'<b>{name}</b> ({100 * float(probability):.1f} %)' in text


def test_images_of_the_same_name_are_numbered():
    assert file_names(['a/x.png', 'b/y.png']) == ['x', 'y']
    assert file_names(['a/x.png', 'b/x.png']) == ['1_x', '2_x']
    assert file_names(['x.png', 'x_a.png'], ['_a', '_b']) == ['x', 'x_a']
    assert file_names(['x.png', 'x_a.png'], ['_b', '_a_b']) == ['1_x', '2_x_a']


def test_a_folder_and_a_name_that_is_no_utf_8(run, image, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    shutil.copy(image, folder / os.fsdecode(b'caf\xe9.png'))
    (folder / 'notes.txt').write_text('no image')
    out = tmp_path / 'out'
    outcome = run_tool('visualize', folder, '--run', run, '--layers', 0, '--out', out)
    assert outcome.status == 0, outcome
    assert '1 image(s) taken, left out 1: notes.txt' in outcome.out
    assert r'caf\udce9.png' in (out / 'index.html').read_text(encoding='utf-8')
    assert (out / os.fsdecode(b'caf\xe9_depth.png')).is_file()


@pytest.mark.parametrize('num_chunks', [1, 3, 40])
def test_other_chunks_and_sizes(base, image, tmp_path, num_chunks):
    """37 tokens and 50 do not divide; at 56 pixels the position embedding is interpolated."""
    size = {1: 48, 3: 56, 40: 56}[num_chunks]
    options = {
        'model.backbone.num_chunks': num_chunks,
        'model.backbone.module.img_size': size,
        'test_dataloader.dataset.pipeline.1.scale': (size, size),
    }
    run = make_run(tmp_path / 'run', base, **options)
    trace = trace_image(trained_subject(str(find_checkpoint(run)), None, 'cpu'), str(image))
    assert trace.grids[0].length == (size // 8) ** 2 + 1
    for make in (figures.potential_figure, figures.chunk_figure):
        content = figures.as_png(make([trace], [0], figures.DARK), figures.DARK)
        assert Image.open(io.BytesIO(content)).width > 300


def test_without_a_run_the_shipped_backbone_is_shown(image, tmp_path, monkeypatch):
    """The one command for a newcomer."""
    monkeypatch.chdir(tmp_path)
    outcome = run_tool('visualize', image, '--layers', 0)
    assert outcome.status == 0, outcome
    assert 'Nothing is trained here' in outcome.out
    folder = tmp_path / 'work_dirs' / 'membrane'
    assert 'is not trained yet' in (folder / 'index.html').read_text(encoding='utf-8')
    assert (folder / 'slope_potential.png').is_file()


def test_before_and_after_training(base, image, tmp_path):
    """Without a run, the first of two is the untrained model of the demo's config."""
    run = make_run(tmp_path / 'run', base)
    outcome = run_tool('visualize', image, '--compare', run, '--layers', 0, '--out', tmp_path)
    assert outcome.status == 0, outcome
    assert 'Nothing is trained' not in outcome.out
    text = (tmp_path / 'index.html').read_text(encoding='utf-8')
    assert '<td>untrained</td><td>run/epoch_20.pth</td>' in text
    assert 'untrained is not trained yet' in text


@pytest.mark.parametrize(
    ('count', 'wanted', 'models', 'expected'),
    [
        (6, (), 1, [0, 2, 3, 5]),
        (24, (), 1, [0, 8, 15, 23]),
        (24, (), 2, [0, 12, 23]),
        (3, (), 1, [0, 1, 2]),
        (1, (), 1, [0]),
        (6, (5, 1, -1), 1, [1, 5]),
    ],
)
def test_layers_to_show(count, wanted, models, expected):
    assert choose_layers(count, wanted, models) == expected


def test_a_layer_that_does_not_exist(run, image):
    error = run_tool('visualize', image, '--run', run, '--layers', 2).error()
    assert error == 'error: --layers 2: the model has the layers 0 to 1'


def test_a_model_without_a_membrane(base, image, tmp_path):
    run = make_run(tmp_path / 'run', base, 'digits_lora', **{'model.backbone.adapters.0.rank': 2})
    error = run_tool('visualize', image, '--run', run).error()
    assert 'run/epoch_20.pth: this model has no membrane (its adapters: LoRA)' in error


def test_a_checkpoint_of_another_model(gate_run, image):
    arguments = ['--config', CONFIGS / 'demo' / 'digits_memba.py']
    checkpoint = gate_run / 'epoch_20.pth'
    error = run_tool('visualize', image, '--checkpoint', checkpoint, *arguments).error()
    assert 'is of other adapters' in error


def test_an_image_that_cannot_be_read(run, tmp_path):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no image')
    error = run_tool('visualize', broken, '--run', run, '--out', tmp_path / 'out').error()
    assert f'cannot read image {broken}' in error
    assert not (tmp_path / 'out' / 'index.html').exists()


def test_a_folder_without_a_checkpoint(image, tmp_path):
    error = run_tool('visualize', image, '--run', tmp_path).error()
    assert f'no checkpoint in {tmp_path}: train first' in error


def test_a_checkpoint_is_a_run_too(run, image, tmp_path):
    arguments = ['--layers', 0, '--out', tmp_path / 'out']
    outcome = run_tool('visualize', image, '--checkpoint', run / 'epoch_20.pth', *arguments)
    assert outcome.status == 0, outcome
