"""mmpretrain's own training tool on the configs of this package."""

import runpy
import sys
from pathlib import Path

import mmpretrain
import pytest
import torch
from helpers import DEMO, tiny_options

TRAIN = Path(mmpretrain.__file__).parent / '.mim' / 'tools' / 'train.py'


@pytest.mark.parametrize('flag', ['--amp', '--auto-scale-lr'])
def test_flags_of_its_training(flag, base, data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    options = tiny_options(base, data_root, **{'train_cfg.max_epochs': 2})
    arguments = [DEMO, flag, '--work-dir', tmp_path, '--cfg-options']
    arguments += [f'{key}={value}' for key, value in options.items()]
    monkeypatch.setattr(sys, 'argv', [str(TRAIN), *map(str, arguments)])
    runpy.run_path(str(TRAIN), run_name='__main__')
    assert (tmp_path / 'epoch_2.pth').is_file()
    log = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    expected = {
        '--amp': 'Without a GPU, mixed precision is bfloat16 autocast',
        '--auto-scale-lr': 'Scaling the original LR by 0.25',  # 8 images for 32
    }
    assert expected[flag] in log
