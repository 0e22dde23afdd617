"""The tools on a GPU: train, test and predict a tiny model."""

import json

import pytest
import torch
from helpers import DEMO, EACH_EPOCH, as_arguments, run_tool, tiny_options

from memba_vision.weights import read_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]


@pytest.mark.parametrize('amp', [[], ['--amp']], ids=['float32', 'amp'])
def test_train_test_and_resume(base, data_root, tmp_path, amp):
    options = tiny_options(base, data_root, **EACH_EPOCH)
    arguments = ['--work-dir', tmp_path, *amp, *as_arguments(options)]
    outcome = run_tool('train', DEMO, *arguments)
    assert outcome.status == 0, outcome
    assert 'Kernels on cuda' in outcome.out + outcome.err
    result = json.loads((tmp_path / 'result.json').read_text())
    assert result['peak_memory_mib'] > 0
    saved = read_checkpoint(str(tmp_path / 'epoch_2.pth'))
    weights = [tensor for tensor in saved['state_dict'].values() if tensor.is_floating_point()]
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in weights)

    outcome = run_tool('test', DEMO, tmp_path / 'epoch_2.pth', *as_arguments(options))
    assert outcome.status == 0, outcome

    (tmp_path / 'epoch_2.pth').unlink()
    outcome = run_tool('train', DEMO, '--resume', *arguments)
    assert outcome.status == 0, outcome
    resumed = read_checkpoint(str(tmp_path / 'epoch_2.pth'))
    for name, tensor in saved['state_dict'].items():
        torch.testing.assert_close(resumed['state_dict'][name].cpu(), tensor.cpu(), msg=name)


def test_the_demo_as_it_is(tmp_path, data_root):
    """Vim-mini with its own weights, in two epochs."""
    where = {f'{part}_dataloader.dataset.data_root': data_root for part in ('train', 'test')}
    options = {**where, 'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 8}
    options |= {'param_scheduler.0.end': 1, 'param_scheduler.1.begin': 1}
    arguments = ['--work-dir', tmp_path, '--amp', *as_arguments(options)]
    outcome = run_tool('train', DEMO, *arguments)
    assert outcome.status == 0, outcome
    assert (tmp_path / 'result.json').is_file()
