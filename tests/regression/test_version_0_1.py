"""What version 0.1 wrote loads, tests and resumes, and its numbers are what they were.

``version_0_1/`` holds two runs of two epochs on a task of 32 images, an adapter file, and, written
by ``record.py``, the state dict, features and gradients of every method.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers import CONFIGS, run_tool
from numbers_of_versions import features_and_gradients, make_adapted, make_base
from safetensors.torch import load_file

from memba_vision import AdapterBank
from memba_vision.engine.training_checkpoints import read_training_checkpoint
from memba_vision.models.peft.model import HEADER, parse_header
from memba_vision.registry import MODELS
from memba_vision.runs.presets import preset_names
from memba_vision.sweeps.folder import enter
from memba_vision.sweeps.jobs import Options, make_jobs

RECORD = Path(__file__).parent / 'version_0_1'
STATES = load_file(RECORD / 'states.safetensors')
RESULTS = load_file(RECORD / 'results.safetensors')
PRESETS = sorted({name.split('/')[0] for name in RESULTS} - {'base'})
RUNS = ('memba', 'lora_x_proj')


def recorded(tensors: dict, preset: str) -> dict:
    return {n.split('/')[1]: t for n, t in tensors.items() if n.startswith(f'{preset}/')}


def assert_same_numbers(model, preset):
    found = features_and_gradients(model)
    expected = recorded(RESULTS, preset)
    assert found.keys() == expected.keys()
    # Another CPU's vector units may round otherwise in the last bits.
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def test_no_method_was_lost():
    assert set(PRESETS) <= set(preset_names())


def test_the_base_computes_the_same():
    assert_same_numbers(make_base(), 'base')


@pytest.mark.parametrize('preset', PRESETS)
def test_a_method_loads_its_state_and_computes_the_same(preset):
    model = make_adapted(preset)
    model.load_state_dict(recorded(STATES, preset))
    assert_same_numbers(model, preset)
    assert model.state_dict().keys() == recorded(STATES, preset).keys()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of what version 0.1 left in a user's folder, which is the working directory."""
    shutil.copytree(RECORD, tmp_path, dirs_exist_ok=True)
    (tmp_path / 'configs').symlink_to(CONFIGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights(checkpoint) -> dict:
    return read_training_checkpoint(checkpoint)['state_dict']


@pytest.mark.parametrize('method', RUNS)
def test_a_run_is_tested(project, method):
    expected = json.loads(Path('runs', method, 'result.json').read_text())
    config = Path('runs', method, 'digits_memba.py')  # the whole config, as mmengine dumps it
    done = run_tool('test', config, f'runs/{method}/epoch_2.pth', '--out', 'table.csv')
    assert done.status == 0, done.err
    assert f'{expected["top1"]:.2f}' in Path('table.csv').read_text()


@pytest.mark.parametrize('method', RUNS)
def test_a_run_resumes_and_ends_as_it_did(project, method, monkeypatch):
    def dropout(x, rate, factor=1.0):
        """Draw the random numbers that version 0.1 drew."""
        return factor * F.dropout(x, rate)

    monkeypatch.setattr('memba_vision.models.modules.dropout.scaled_dropout', dropout)
    options = json.loads(Path('runs', method, 'run.json').read_text())[-1]['command'][2:]
    before = weights(f'runs/{method}/epoch_2.pth')
    for name in ('epoch_2.pth', 'result.json', 'last_checkpoint'):
        Path('runs', method, name).unlink()
    done = run_tool('train', *options, '--resume')
    assert done.status == 0, done.err
    after = weights(f'runs/{method}/epoch_2.pth')
    assert before.keys() == after.keys()
    said, says = (parse_header(found.pop(f'backbone.{HEADER}')) for found in (before, after))
    assert said == {key: says[key] for key in said}
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize('method', RUNS)
def test_a_sweep_goes_on(project, method):
    command = json.loads(Path('runs', method, 'run.json').read_text())[-1]['command']
    options = Options(tuple(part for part in command if '=' in part))
    methods = [method] if '--peft' in command else []
    jobs = make_jobs(['configs/demo/digits_memba.py'], methods, [0], Path('runs'), options)
    Path('runs', method).rename(jobs[0].folder)
    enter(Path('runs'), jobs, options)  # an error, if its settings were others


def test_an_adapter_file_loads_into_a_bank(project):
    arch = dict(embed_dims=16, num_layers=2)
    init = dict(type='Pretrained', checkpoint='base.safetensors')
    backbone = MODELS.build(dict(type='Vim', arch=arch, img_size=48, patch_size=8, init_cfg=init))
    backbone.init_weights()
    bank = AdapterBank(backbone)
    info = bank.add('digits', 'adapter.safetensors')
    assert (info.method, info.task, info.classes) == ('memba', 'digits', 10)
    with torch.no_grad():
        assert bank.model('digits')(torch.zeros(1, 3, 48, 48)).shape == (1, 10)


@pytest.mark.parametrize('method', RUNS)
def test_predictions_of_a_run(project, method):
    image = next(Path('data').rglob('*.png'))
    done = run_tool('predict', image, '--checkpoint', f'runs/{method}/epoch_2.pth')
    assert done.status == 0, done.err
    assert str(image) in done.out
