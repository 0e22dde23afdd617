import datetime

import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from memba_vision.engine.checkpoint_loader import safe_loading
from memba_vision.errors import UserError
from memba_vision.models.modules.gates import SiLUGate

PICKLED = {'state_dict': {'0.weight': torch.ones(2, 2)}, 'when': datetime.date(2020, 1, 1)}


def test_files_for_models_of_this_package_are_read_with_the_safe_loader(tmp_path):
    ours = nn.Sequential(nn.Linear(2, 2, bias=False), SiLUGate())
    weights = PICKLED['state_dict']
    torch.save({'model': weights}, tmp_path / 'w.pth')
    save_file(weights, tmp_path / 'w.safetensors')
    for name in ('w.pth', 'w.safetensors'):
        nn.init.zeros_(ours[0].weight)
        load_checkpoint(ours, str(tmp_path / name))
        assert torch.equal(ours[0].weight, weights['0.weight'])
    with pytest.raises(UserError, match='no checkpoint at'):
        load_checkpoint(ours, str(tmp_path / 'no.pth'))
    torch.save(PICKLED, tmp_path / 'pickled.pth')
    with pytest.raises(UserError, match='holds pickled Python objects'):
        load_checkpoint(ours, str(tmp_path / 'pickled.pth'))


def test_wrapped_weights_are_where_mmengine_looks_for_them(tmp_path):
    for wrapper in ('model', 'model_ema', 'module'):
        torch.save({wrapper: {'x': torch.ones(2)}, 'epoch': 3}, tmp_path / 'w.pth')
        with safe_loading():
            found = CheckpointLoader.load_checkpoint(str(tmp_path / 'w.pth'))
        assert torch.equal(found['state_dict']['x'], torch.ones(2))
        assert found['epoch'] == 3


@pytest.mark.filterwarnings('ignore:Environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
def test_files_of_other_projects_go_to_their_own_loader(tmp_path, monkeypatch):
    """Also those that the safe loader would refuse: it is their decision."""
    path = str(tmp_path / 'pickled.pth')
    torch.save(PICKLED, path)
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    assert load_checkpoint(model, path)['when'] == PICKLED['when']
    assert torch.equal(model[0].weight, torch.ones(2, 2))
    assert CheckpointLoader.load_checkpoint(path)['when'] == PICKLED['when']
    model = BaseModule(init_cfg=dict(type='Pretrained', checkpoint=path))
    model.init_weights()
    with pytest.raises(FileNotFoundError, match='can not be found'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'no.pth'))
    torch.save([1, 2], path)
    assert CheckpointLoader.load_checkpoint(path) == [1, 2]
    with safe_loading(), pytest.raises(UserError, match='holds a list, expected a dict'):
        CheckpointLoader.load_checkpoint(path)


def test_other_models_are_loaded_as_ever(tmp_path):
    source = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    source(torch.randn(2, 3, 4, 4))
    torch.save({'state_dict': source.state_dict(), 'meta': {}}, tmp_path / 'w.pth')
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    load_checkpoint(model, str(tmp_path / 'w.pth'), strict=True)
    assert all(torch.equal(t, source.state_dict()[k]) for k, t in model.state_dict().items())
    assert model[1].num_batches_tracked == 1
    part = {'0.weight': torch.ones(4, 3, 1, 1)}
    torch.save(part, tmp_path / 'part.pth')
    load_checkpoint(model, str(tmp_path / 'part.pth'))
    assert torch.equal(model[0].weight, part['0.weight'])
