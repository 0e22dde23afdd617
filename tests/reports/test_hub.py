"""Models that are shared: folders, and a stand-in for the Hugging Face Hub."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import forget_runs, run_tool
from hub_server import serving_hub
from huggingface_hub import ModelCard, constants
from photo_folders import CLASSES, make_photos
from safetensors.torch import save_file

import memba_vision
from memba_vision.errors import UserError
from memba_vision.models.peft.adapter_files import read_adapter
from memba_vision.photos.task import prepare_task, write_task
from memba_vision.photos.training import SHIPPED, Choices, run_method
from memba_vision.weights import resolve

IMAGE = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
FILES = {'README.md', 'adapter.safetensors', 'memba_vision.json'}


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    """A run of one epoch; not to be changed."""
    forget_runs()
    root = tmp_path_factory.mktemp('run')
    photos = make_photos(root / 'birds', dict.fromkeys(CLASSES, 8))
    task = prepare_task(photos, root / 'data' / 'birds', 0, False, 1, lambda line: None)
    write_task(task)
    run_method(task, Choices(SHIPPED, 'lora_out_proj', epochs=1), 'lora_out_proj', root)
    return root / 'lora_out_proj'


@pytest.fixture(scope='module')
def shared(run, tmp_path_factory) -> Path:
    """A shared folder of the run; not to be changed."""
    out = tmp_path_factory.mktemp('shared') / 'birds'
    outcome = run_tool('push', run, '--out', out)
    assert outcome.status == 0, outcome
    return out


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with serving_hub() as server:
        monkeypatch.setattr(constants, 'ENDPOINT', server.url)
        template = server.url + '/{repo_id}/resolve/{revision}/{filename}'
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
        yield server


def answer(model) -> tuple[str, np.ndarray]:
    (found,) = memba_vision.Inferencer(model)(IMAGE)
    return found['pred_class'], found['pred_scores']


def test_a_shared_folder_is_small_and_answers_as_the_run_does(run, shared):
    assert {path.name for path in shared.iterdir()} == FILES
    assert sum(path.stat().st_size for path in shared.iterdir()) < 200_000
    expected, found = (
        answer(memba_vision.load_trained(run)),
        answer(memba_vision.from_pretrained(shared)),
    )
    assert found[0] == expected[0]
    assert found[0] in CLASSES
    assert np.array_equal(found[1], expected[1])


def test_the_card_says_what_the_run_says(run, shared):
    card = ModelCard.load(shared / 'README.md')
    result = json.loads((run / 'result.json').read_text())
    (measured,) = card.data.eval_results
    assert measured.metric_value == pytest.approx(result['top1'] / 100, abs=1e-6)
    assert (card.data.license, card.data.pipeline_tag) == ('apache-2.0', 'image-classification')
    base = read_adapter(shared / 'adapter.safetensors')[1].base
    share = f'{result["top1"]:.1f} % of {result["test_images"]} test images (95 % interval '
    for text in (base, share, 'vim-mini-v2', '48 x 48', 'Apache-2.0', *CLASSES):
        assert text in card.text


def test_the_card_of_a_checkpoint_that_was_tested_by_itself(run, shared, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / 'run'))
    (checkpoint,) = copy.glob('best_*.pth')
    (copy / 'result.json').rename(copy / f'result_{checkpoint.stem}.json')
    folder = memba_vision.save_pretrained(checkpoint, tmp_path / 'out')
    assert (folder / 'README.md').read_text() == (shared / 'README.md').read_text()


def test_a_run_whose_config_states_no_size_of_images(run, tmp_path):
    """It is that of the backbone as it was built. The weights are a file of one's own here."""
    copy = Path(shutil.copytree(run, tmp_path / 'run'))
    record = json.loads((copy / 'run.json').read_text())
    module = record[-1]['config']['model']['backbone']['module']
    del module['img_size']
    shutil.copy(resolve(module['init_cfg']['checkpoint']), tmp_path / 'own.safetensors')
    module['init_cfg']['checkpoint'] = str(tmp_path / 'own.safetensors')
    (copy / 'run.json').write_text(json.dumps(record))
    folder = memba_vision.save_pretrained(copy, tmp_path / 'out')
    about = json.loads((folder / 'memba_vision.json').read_text())
    assert (about['backbone'], about['image_size']) == (None, [224, 224])


def test_push_and_fetch(run, hub, tmp_path):
    outcome = run_tool('push', run, 'me/birds', '--private', '--licence', 'cc-by-4.0')
    assert outcome.status == 0, outcome
    assert f'{hub.url}/me/birds' in outcome.out
    assert set(hub.files['me/birds']) == FILES
    assert hub.created[0]['visibility'] == 'private'
    (card,) = hub.cards
    assert 'license: cc-by-4.0' in card
    assert "from_pretrained('me/birds')" in card
    expected = answer(memba_vision.load_trained(run))
    for source in ('me/birds', 'hf://me/birds'):
        assert np.array_equal(
            answer(memba_vision.from_pretrained(source, revision='main'))[1], expected[1]
        )
    photo = next((run.parent / 'birds' / 'red').glob('*.png'))
    found = [run_tool('predict', photo, '--run', place) for place in ('hf://me/birds', run)]
    assert found[0].out == found[1].out
    hub.commit = 40 * 'b'
    assert run_tool('push', run, 'me/birds', '--private').status == 0, 'once more'


def test_a_hub_that_refuses_or_has_no_such_model(run, hub):
    with pytest.raises(UserError, match=r'cannot fetch me/nothing .*Repository'):
        memba_vision.from_pretrained('me/nothing')
    with pytest.raises(UserError, match=r'cannot fetch a/b/c .*Repo id'):
        memba_vision.from_pretrained('a/b/c')
    hub.files['me/known'], hub.private['me/known'] = {}, False
    assert 'me/known is public' in run_tool('push', run, 'me/known', '--private').error()
    assert hub.files['me/known'] == {}
    hub.refuses = True
    assert 'hf auth login' in run_tool('push', run, 'me/birds').error()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [([], 'one of the two'), (['me/birds', '--out', 'x'], 'one of the two')],
    ids=str,
)
def test_arguments_of_push(run, arguments, message):
    assert message in run_tool('push', run, *arguments).error()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(backbone='evil.py'), "names 'evil.py' of the backbones"),
        (dict(backbone=None), 'names none of the backbones'),
        (dict(backbone=['vim-mini']), 'names .* of the backbones'),
        (dict(backbone='vim-mini'), 'trained over another base'),
        (dict(image_size='large'), r'memba_vision\.json is damaged: image_size'),
        (dict(image_size=None), r'memba_vision\.json is damaged: image_size'),
        (dict(classes=['a', 'b']), 'names 2 classes'),
        (dict(classes=[1, 2, 3]), 'are no names'),
        (dict(classes='abc'), 'are no names'),
        (dict(format=2), 'of format 2'),
    ],
    ids=str,
)
def test_a_folder_that_was_tampered_with(shared, tmp_path, changes, message):
    folder = Path(shutil.copytree(shared, tmp_path / 'folder'))
    about = json.loads((folder / 'memba_vision.json').read_text())
    (folder / 'memba_vision.json').write_text(json.dumps({**about, **changes}))
    with pytest.raises(UserError, match=message):
        memba_vision.from_pretrained(folder)


def test_a_folder_that_is_none(shared, tmp_path):
    with pytest.raises(UserError, match=r'it has no memba_vision\.json'):
        memba_vision.from_pretrained(tmp_path)
    folder = Path(shutil.copytree(shared, tmp_path / 'folder'))
    (folder / 'memba_vision.json').write_text('{')
    with pytest.raises(UserError, match='cannot be read'):
        memba_vision.from_pretrained(folder)
    shutil.copy(shared / 'memba_vision.json', folder)
    save_file({'head.fc.weight': torch.ones(3, 2)}, folder / 'adapter.safetensors')
    with pytest.raises(UserError, match='is no adapter file'):
        memba_vision.from_pretrained(folder)
    torch.save({'a': torch.ones(1)}, folder / 'adapter.safetensors')  # a pickle
    with pytest.raises(UserError):
        memba_vision.from_pretrained(folder)


def test_a_backbone_of_ones_own(shared, tmp_path):
    folder = Path(shutil.copytree(shared, tmp_path / 'folder'))
    about = json.loads((folder / 'memba_vision.json').read_text())
    (folder / 'memba_vision.json').write_text(json.dumps({**about, 'backbone': None}))
    own = tmp_path / 'own.py'
    own.write_text("_base_ = 'memba_vision::_base_/models/vim-mini-v2.py'\n")
    found = memba_vision.from_pretrained(folder, backbone=str(own))
    assert np.array_equal(answer(found)[1], answer(memba_vision.from_pretrained(shared))[1])
