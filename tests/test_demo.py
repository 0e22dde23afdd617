"""The embedded default: the weights that come with the package, and what they make possible."""

from pathlib import Path

import pytest
from helpers import DEMO

import memba_vision
from memba_vision.runs import testing
from memba_vision.runs.config import load_config
from memba_vision.runs.training import train
from memba_vision.weights import read_state_dict, resolve


@pytest.mark.parametrize('name', ['vim-mini', 'vmamba-mini', 'vit-mini'])
def test_weights_are_small_and_fit(name):
    path = f'memba_vision://{name}.safetensors'
    assert resolve(path).stat().st_size <= 5_000_000
    assert Path(memba_vision.__file__).parent in resolve(path).parents
    backbone = memba_vision.get_model(name, pretrained=True).backbone
    weights = read_state_dict(path)
    assert backbone.state_dict().keys() == weights.keys()
    assert all((backbone.state_dict()[key] == value).all() for key, value in weights.items())


@pytest.fixture(scope='module')
def learned(tmp_path_factory):
    """Options and result of a training on digits, with Memba, for six epochs."""
    folder = tmp_path_factory.mktemp('learned')
    options = {
        'train_cfg.max_epochs': 6,
        'param_scheduler.1.T_max': 4,
        'train_dataloader.dataset.data_root': str(folder / 'data'),
        'test_dataloader.dataset.data_root': str(folder / 'data'),
    }
    return options, train(load_config(str(DEMO), options, str(folder / 'run')))


@pytest.mark.slow
def test_memba_learns_digits_in_six_epochs(learned):
    _, result = learned
    assert result.test_images == 797
    assert result.adapter_parameters == 73_728
    assert result.top1 > 60  # chance is 10, and 82 was measured


@pytest.mark.slow
def test_bfloat16_answers_as_float32_does(learned, tmp_path):
    options, result = learned
    config = load_config(str(DEMO), {**options, 'test_cfg.fp16': True}, str(tmp_path))
    rounded = testing.test(config, str(result.checkpoint))
    assert abs(rounded.top1 - result.top1) <= 0.3
