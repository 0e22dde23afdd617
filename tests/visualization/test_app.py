"""The demo app, from outside: in a browser."""

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
from browser import page_errors
from helpers import CONFIGS, run_tool
from membrane_runs import make_run
from PIL import Image
from selenium.webdriver.common.by import By

from memba_vision.datasets.pixels import read_rgb
from memba_vision.errors import UserError
from memba_vision.models.peft import FoldedBackbone
from memba_vision.runs.config import load_config
from memba_vision.serving.app import build_app, config_of, describe, load_subjects, serve
from memba_vision.serving.predict import Predictor
from memba_vision.visualization.page import CAPTIONS
from memba_vision.zoo.adapter_files import write_adapter


@pytest.fixture(scope='session')
def lora_run(base, tmp_path_factory):
    options = {'model.backbone.adapters.0.rank': 2}
    folder = tmp_path_factory.mktemp('runs') / 'digits_lora'
    return make_run(folder, base, 'digits_lora', seed=2, **options)


@contextmanager
def serving(subjects) -> Iterator[str]:
    app = build_app(subjects)
    try:
        yield serve(app)
    finally:
        app.close()


def eventually(found: Callable[[], object], what: str) -> object:
    """What ``found`` gives as soon as it is true."""
    for _ in range(600):
        if value := found():
            return value
        time.sleep(0.1)
    raise AssertionError(f'no {what} after a minute')


def texts(browser, selector: str) -> str:
    """The text of all that a CSS selector finds; the page may be rebuilding it."""
    script = 'return [...document.querySelectorAll(arguments[0])].map(e => e.innerText).join("|")'
    return browser.execute_script(script, selector)


def map_source(browser) -> str:
    script = 'const i = document.querySelector("figure img"); return i && i.naturalWidth && i.src'
    return browser.execute_script(script)


def upload(browser, image: Path) -> None:
    """Give the app an image, and wait for the map."""
    chooser = (By.CSS_SELECTOR, 'input[type=file]')
    (field,) = eventually(lambda: browser.find_elements(*chooser), 'place for an image')
    field.send_keys(str(image))
    eventually(lambda: map_source(browser), 'map')


def choose(browser, adapter: str) -> None:
    browser.find_element(By.CSS_SELECTOR, 'input[aria-label=Adapter]').click()
    options = eventually(
        lambda: browser.find_elements(By.CSS_SELECTOR, '[role=option]'), 'list of adapters'
    )
    next(option for option in options if adapter in option.text.split()).click()
    eventually(lambda: f'Adapter: {adapter}' in texts(browser, 'p'), adapter)


@pytest.mark.slow
@pytest.mark.browser
def test_upload_see_and_switch(run, gate_run, image, browser):
    sources = [str(run), str(gate_run)]
    subjects = load_subjects(sources, config_of(sources), 'cpu')
    with serving(subjects) as url:
        assert urlparse(url).hostname == '127.0.0.1'
        browser.get(url)
        upload(browser, image)
        first = texts(browser, '[data-testid$="confidence-set"]')
        expected, _ = describe(subjects['digits_memba'], str(image), 'potential')
        assert next(iter(expected)) in first
        first_map = map_source(browser)

        choose(browser, 'digits_memba-gate')
        eventually(lambda: map_source(browser) not in (None, 0, first_map), 'other map')
        other = texts(browser, '[data-testid$="confidence-set"]')
        expected, _ = describe(subjects['digits_memba-gate'], str(image), 'potential')
        assert next(iter(expected)) in other
        assert other != first

        heading = CAPTIONS['reset'][0]
        browser.find_element(By.XPATH, f'//label[contains(., "{heading}")]').click()
        eventually(lambda: heading in texts(browser, 'figcaption h3'), 'other picture')
        assert page_errors(browser) == []
        loaded = 'return performance.getEntriesByType("resource").map(e => new URL(e.name).host)'
        hosts = set(browser.execute_script(loaded)) - {''}  # pictures in the page have none
        assert hosts == {urlparse(url).netloc}


@pytest.mark.browser
def test_with_no_adapter_the_app_says_what_to_train(image, browser):
    config = load_config(str(CONFIGS / 'demo' / 'digits_memba.py'), {}, None)
    with serving(load_subjects([], config, 'cpu')) as url:
        browser.get(url)
        eventually(lambda: 'No adapter was given' in texts(browser, 'p'), 'message')
        upload(browser, image)
        assert 'untrained' in texts(browser, 'p')
        assert page_errors(browser) == []


def test_adapters_of_files_runs_and_other_methods(run, lora_run, image, tmp_path):
    """An adapter file has no names of classes; LoRA has classes, but no membrane."""
    file = tmp_path / 'exported.safetensors'
    write_adapter(str(run / 'epoch_20.pth'), file)
    sources = [str(file), str(run), str(lora_run)]
    subjects = load_subjects(sources, config_of(sources), 'cpu')
    assert list(subjects) == ['exported', 'digits_memba', 'digits_lora']
    answers = [describe(subject, str(image), 'potential') for subject in subjects.values()]
    (by_number, _), (by_name, drawn), (lora, nothing) = answers
    assert list(by_number.values()) == pytest.approx(list(by_name.values()))
    assert all(name.isdecimal() for name in by_number)
    assert not any(name.isdecimal() for name in by_name)
    assert 'data:image/png' in drawn
    assert len(lora) == 3
    assert 'no membrane' in nothing


def test_several_adapters_share_one_backbone_and_one_alone_is_folded(run, gate_run):
    (alone,) = load_subjects([str(run)], config_of([str(run)]), 'cpu').values()
    assert isinstance(alone.model.backbone, FoldedBackbone)
    sources = [str(run), str(gate_run)]
    first, second = load_subjects(sources, config_of(sources), 'cpu').values()
    weights = [subject.backbone.patch_embed.proj.weight for subject in (first, second)]
    assert weights[0].data_ptr() == weights[1].data_ptr()


def test_the_answer_is_that_of_the_prediction(run, image):
    subjects = load_subjects([str(run)], config_of([str(run)]), 'cpu')
    classes, _ = describe(subjects['digits_memba'], str(image), 'depth')
    outcome = run_tool('predict', image, '--checkpoint', run / 'epoch_20.pth', '--top', 3)
    lines = [line.split(',')[1:] for line in outcome.out.splitlines()[1:]]
    assert list(classes) == [name for name, _ in lines]
    assert list(classes.values()) == pytest.approx([float(p) for _, p in lines], abs=1e-5)


def uploads() -> dict[str, tuple[Image.Image, dict]]:
    """Pictures that gradio converts if it is let, with the options that they are saved with."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 4)).astype(np.uint8)
    colour, turned = Image.fromarray(noise[..., :3]), Image.Exif()
    turned[0x0112] = 6
    return {
        'plain.png': (colour, {}),
        'alpha.png': (Image.fromarray(noise[..., :2]), {}),
        'alpha.webp': (Image.fromarray(noise), dict(lossless=True)),
        'grey.jpg': (colour.convert('L'), dict(quality=90)),
        'cmyk.jpg': (colour.convert('CMYK'), dict(quality=90)),
        'wide.png': (Image.fromarray(noise.view(np.uint16)[..., 0]), {}),
        'palette.png': (colour.convert('P'), dict(transparency=3)),
        'palette.gif': (colour.convert('P'), dict(transparency=3)),
        'turned.jpg': (colour, dict(quality=90, exif=turned)),
        'scan.tif': (colour.convert('1'), {}),
    }


@pytest.mark.parametrize('name', uploads())
def test_the_app_reads_the_file_as_it_was_uploaded(name, run, tmp_path):
    """Through gradio's own preprocessing, as its server calls it."""
    import gradio
    from gradio.data_classes import ImageData

    image, options = uploads()[name]
    image.save(tmp_path / name, **options)
    app = build_app(load_subjects([str(run)], config_of([str(run)]), 'cpu'))
    (component,) = (block for block in app.blocks.values() if isinstance(block, gradio.Image))
    handed = component.preprocess(ImageData(path=str(tmp_path / name), orig_name=name))
    assert np.array_equal(read_rgb(handed), read_rgb(tmp_path / name))
    assert Path(handed).read_bytes() == (tmp_path / name).read_bytes()


def test_names_that_are_no_utf_8(run, image, tmp_path):
    folder = tmp_path / os.fsdecode(b'caf\xe9')
    shutil.copytree(run, folder)
    subjects = load_subjects([str(folder)], config_of([str(folder)]), 'cpu')
    assert list(subjects) == [r'caf\udce9']
    _, drawn = describe(subjects[r'caf\udce9'], str(image), 'depth')
    assert drawn.encode()


def test_each_run_reads_images_as_it_was_trained(run, base, image, tmp_path):
    other = make_run(
        tmp_path / 'other', base, seed=1, **{'data_preprocessor.mean': [0.0, 9.0, 200.0]}
    )
    sources = [str(run), str(other)]
    subjects = load_subjects(sources, config_of(sources), 'cpu')
    for folder in (run, other):
        (expected,) = Predictor(str(folder), device='cpu')([str(image)], top=3)
        classes, _ = describe(subjects[folder.name], str(image), 'depth')
        assert classes == pytest.approx(dict(expected.classes), abs=1e-5)


def test_runs_of_the_same_name(run, base, tmp_path):
    other = make_run(tmp_path / run.name, base, seed=5)
    sources = [str(run), str(other)]
    assert list(load_subjects(sources, config_of(sources), 'cpu')) == sources


def test_an_adapter_of_another_backbone(run):
    config = load_config(str(CONFIGS / 'demo' / 'digits_memba.py'), {}, None)
    with pytest.raises(UserError, match='trained over another base'):
        load_subjects([str(run)], config, 'cpu')


def test_a_source_that_is_not_there(tmp_path):
    assert 'no checkpoint at' in run_tool('app', tmp_path / 'nothing').error()


def test_a_port_that_is_taken(run):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        app = build_app(load_subjects([str(run)], config_of([str(run)]), 'cpu'))
        with pytest.raises(UserError, match='cannot serve at'):
            serve(app, port=taken.getsockname()[1])


def test_without_gradio_the_package_to_install_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    subjects = load_subjects([str(run)], config_of([str(run)]), 'cpu')
    with pytest.raises(UserError, match=r"pip install 'memba_vision\[app\]'"):
        build_app(subjects)


def test_nothing_is_reported(run, monkeypatch):
    monkeypatch.setenv('GRADIO_ANALYTICS_ENABLED', 'True')
    app = build_app(load_subjects([str(run)], config_of([str(run)]), 'cpu'))
    assert app.analytics_enabled is False
