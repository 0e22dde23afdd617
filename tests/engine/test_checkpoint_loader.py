import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

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
