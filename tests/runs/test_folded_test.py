"""Tests of a run with adapters folded: when they are, and that they are not afterwards."""

import pytest
from helpers import DEMO, forget_runs, tiny_options
from mmengine.hooks import Hook

from memba_vision.engine.runner import ReadableRunner
from memba_vision.models.peft import FoldedBackbone, PEFTModel
from memba_vision.runs import testing
from memba_vision.runs.config import load_config
from memba_vision.runs.folded_test import FoldedTestHook
from memba_vision.runs.testing import test as run_test


class SeenHook(Hook):
    """Notes which backbone a hook of usual priority sees, and what the model answers."""

    def __init__(self):
        self.kinds = {}

    def before_test_epoch(self, runner):
        self.kinds['before'] = type(runner.model.backbone)

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.kinds[batch_idx] = type(runner.model.backbone)

    def after_test_epoch(self, runner, metrics=None):
        self.kinds['after'] = type(runner.model.backbone)


@pytest.fixture
def config(base, data_root, tmp_path):
    options = {**tiny_options(base, data_root), 'test_dataloader.batch_size': 8}
    return load_config(str(DEMO), options, str(tmp_path / 'run'))


def test_adapters_are_folded_while_images_are_tested(config):
    runner = ReadableRunner.from_cfg(config)
    adapted, seen = runner.model.backbone, SeenHook()
    runner.register_hook(seen)
    runner.register_hook(FoldedTestHook())
    for _ in range(2):
        runner.test()
        folded = dict.fromkeys(range(3), FoldedBackbone)
        assert seen.kinds == {'before': type(adapted), **folded, 'after': type(adapted)}
        assert runner.model.backbone is adapted and isinstance(adapted, PEFTModel)
        seen.kinds.clear()
    assert runner.model.train().state_dict()


@pytest.mark.parametrize('switch', [None, True, False])
def test_the_tool_folds_unless_it_is_told_not_to(config, monkeypatch, switch):
    calls = []

    class CountingHook(FoldedTestHook):
        def before_test_iter(self, runner, batch_idx, data_batch=None):
            super().before_test_iter(runner, batch_idx, data_batch)
            calls.append(type(runner.model.backbone))

    monkeypatch.setattr(testing, 'FoldedTestHook', CountingHook)
    if switch is not None:
        config.fold_adapters = switch
    runner = ReadableRunner.from_cfg(config)
    path = f'{config.work_dir}/epoch_0.pth'
    runner.save_checkpoint(
        config.work_dir, 'epoch_0.pth', save_optimizer=False, save_param_scheduler=False
    )
    forget_runs()
    result = run_test(config, path)
    assert calls == ([] if switch is False else 3 * [FoldedBackbone])
    assert result.trained_parameters > result.adapter_parameters > 0, 'counted before folding'
