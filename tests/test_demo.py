"""The embedded default: the weights that come with the package, and what they make possible."""

from pathlib import Path

import pytest
from helpers import DEMO

import memba_vision
from memba_vision.models import Vim
from memba_vision.runs.config import load_config
from memba_vision.runs.training import train
from memba_vision.weights import read_state_dict, resolve


def test_weights_are_small_and_fit():
    assert resolve('memba_vision://vim-mini.safetensors').stat().st_size <= 5_000_000
    init_cfg = dict(type='Pretrained', checkpoint='memba_vision://vim-mini.safetensors')
    model = Vim(dict(embed_dims=96, num_layers=6), img_size=48, patch_size=8, init_cfg=init_cfg)
    model.init_weights()
    weights = read_state_dict('memba_vision://vim-mini.safetensors')
    assert all((model.state_dict()[name] == value).all() for name, value in weights.items())
    assert Path(memba_vision.__file__).parent in resolve(init_cfg['checkpoint']).parents


@pytest.mark.slow
def test_memba_learns_digits_in_six_epochs(tmp_path):
    options = {
        'train_cfg.max_epochs': 6,
        'param_scheduler.1.T_max': 4,
        'train_dataloader.dataset.data_root': str(tmp_path / 'data'),
        'test_dataloader.dataset.data_root': str(tmp_path / 'data'),
    }
    config = load_config(str(DEMO), options, str(tmp_path / 'run'))
    result = train(config)
    assert result.test_images == 797
    assert result.adapter_parameters == 73_728
    assert result.top1 > 60  # chance is 10, and 82 was measured
