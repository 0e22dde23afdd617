import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

import memba_vision  # noqa: F401
from memba_vision.errors import UserError


def test_mmengine_reads_weights_with_the_safe_loader(tmp_path):
    weights = {'x': torch.ones(2)}
    torch.save(weights, tmp_path / 'w.pth')
    save_file(weights, tmp_path / 'w.safetensors')
    for name in ('w.pth', 'w.safetensors'):
        found = CheckpointLoader.load_checkpoint(str(tmp_path / name), map_location='cpu')
        assert torch.equal(found['x'], weights['x'])
    with pytest.raises(UserError, match='no checkpoint at'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'no.pth'))


def test_wrapped_weights_are_where_mmengine_looks_for_them(tmp_path):
    for wrapper in ('model', 'model_ema', 'module'):
        torch.save({wrapper: {'x': torch.ones(2)}, 'epoch': 3}, tmp_path / 'w.pth')
        found = CheckpointLoader.load_checkpoint(str(tmp_path / 'w.pth'))
        assert torch.equal(found['state_dict']['x'], torch.ones(2))
        assert found['epoch'] == 3


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
