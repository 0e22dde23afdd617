"""What a training took is written down, and adds up over its starts."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers import DEMO, EACH_EPOCH, as_arguments, run_tool, tiny_options

from memba_vision.engine.hooks.cost import INFO, peak_memory_mib, recorded_cost
from memba_vision.runs.backbone import backbone_of
from memba_vision.runs.result import Result
from memba_vision.weights import read_checkpoint


@pytest.fixture(scope='module')
def options(base, data_root) -> dict:
    return tiny_options(base, data_root, **EACH_EPOCH, **{'train_cfg.max_epochs': 3})


@pytest.fixture(scope='module')
def trained(options, tmp_path_factory) -> Path:
    """The folder of a run of three epochs; not to be changed."""
    work_dir = tmp_path_factory.mktemp('trained')
    train(work_dir, options)
    return work_dir


def train(work_dir: Path, options: dict, *arguments: str) -> Result:
    outcome = run_tool('train', DEMO, '--work-dir', work_dir, *arguments, *as_arguments(options))
    assert outcome.status == 0, outcome
    return result_of(work_dir)


def result_of(work_dir: Path) -> Result:
    return Result.from_record(json.loads((work_dir / 'result.json').read_text()))


def test_time_and_memory_are_in_the_result(trained):
    result = result_of(trained)
    first, second = (recorded_cost(read_checkpoint(str(trained / f'epoch_{e}.pth'))) for e in '23')
    assert 0 < first['seconds'] < second['seconds'] == result.training_seconds
    assert 50 < first['peak_memory_mib'] <= result.peak_memory_mib
    assert result.peak_memory_mib <= peak_memory_mib()


def test_the_backbone_is_in_the_result(trained):
    result = result_of(trained)
    record = json.loads((trained / 'run.json').read_text())[-1]
    assert result.backbone == backbone_of(record['config'], record['base_fingerprint'])
    assert len(result.backbone.base) == 64


def test_a_resumed_run_adds_to_what_it_took(trained, options, tmp_path):
    work_dir = shutil.copytree(trained, tmp_path / 'work')
    (work_dir / 'epoch_3.pth').unlink()
    path = work_dir / 'epoch_2.pth'
    checkpoint = torch.load(path, weights_only=True)
    cost = checkpoint['message_hub']['runtime_info'][INFO]
    cost.update(seconds=5000.0, peak_memory_mib=1e6)
    torch.save(checkpoint, path)
    result = train(work_dir, options, '--resume')
    assert result.training_seconds > 5000
    assert result.peak_memory_mib == 1e6


def test_from_a_checkpoint_that_does_not_say_the_cost_is_unknown(trained, options, tmp_path):
    work_dir = shutil.copytree(trained, tmp_path / 'work')
    (work_dir / 'epoch_3.pth').unlink()
    path = work_dir / 'epoch_2.pth'
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint['message_hub']['runtime_info'][INFO]
    torch.save(checkpoint, path)
    result = train(work_dir, options, '--resume')
    assert (result.training_seconds, result.peak_memory_mib) == (None, None)


def test_testing_again_keeps_it(trained, options, tmp_path):
    work_dir = shutil.copytree(trained, tmp_path / 'work')
    before = result_of(work_dir)
    (work_dir / 'result.json').unlink()
    run_tool('test', DEMO, '--work-dir', work_dir, *as_arguments(options))
    after = result_of(work_dir)
    assert after.training_seconds == before.training_seconds
    assert after.top1 == before.top1
