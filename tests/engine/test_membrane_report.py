"""The numbers of the membranes reach the visualizer's backends, and training stays as it was."""

import json
from pathlib import Path

import pytest
import torch
from helpers import CONFIGS, DEMO, as_arguments, run_tool, tiny_options
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from memba_vision.engine.hooks import MembraneReportHook
from memba_vision.errors import UserError

NAMES = {
    f'{name}/layer_{layer:02d}'
    for name in ('membrane_potential', 'membrane_reset_share', 'gate_sparsity')
    for layer in (0, 1)
}
#: As docs/visualize.md has it.
HOOK = {
    'default_hooks.membrane_report.type': 'MembraneReportHook',
    'default_hooks.membrane_report.interval': 3,
}


def train(base: Path, data_root: Path, folder: Path, **options) -> Path:
    """Two epochs of four steps."""
    arguments = as_arguments(tiny_options(base, data_root, **options))
    outcome = run_tool('train', DEMO, '--work-dir', folder, *arguments)
    assert outcome.status == 0, outcome
    (logs,) = folder.glob('*/vis_data')
    return logs


@pytest.fixture(scope='module')
def watched(base, data_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('watched')
    train(base, data_root, folder, **HOOK)
    return folder


def test_the_local_backend_has_the_numbers(watched):
    (path,) = watched.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    reports = [line for line in lines if 'gate_sparsity/layer_00' in line]
    assert [report['step'] for report in reports] == [1, 4, 7]
    for report in reports:
        assert report.keys() == NAMES | {'step'}
        for layer in ('layer_00', 'layer_01'):
            assert 0 <= report[f'membrane_reset_share/{layer}'] < 0.5
            assert 0 < report[f'gate_sparsity/{layer}'] < 1
            assert report[f'membrane_potential/{layer}'] != 0


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'BFloat16OptimWrapper'])
def test_training_is_as_without(base, data_root, tmp_path, wrapper):
    """Also under autocast, which would keep weights that a hook casts without their gradient."""
    options = {'optim_wrapper.type': wrapper}
    train(base, data_root, tmp_path / 'with', **options, **HOOK)
    train(base, data_root, tmp_path / 'without', **options)
    states = [
        torch.load(tmp_path / name / 'epoch_2.pth')['state_dict'] for name in ('with', 'without')
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_tensorboard_has_the_numbers(base, data_root, tmp_path):
    backend = {'visualizer.vis_backends+': {'type': 'TensorboardVisBackend'}}
    checkpointed = {'model.backbone.module.with_cp': True}
    logs = train(base, data_root, tmp_path, **HOOK, **backend, **checkpointed)
    events = EventAccumulator(str(logs))
    events.Reload()
    assert set(events.Tags()['scalars']) >= NAMES | {'loss', 'lr', 'test/accuracy/top1'}
    assert (logs / 'scalars.json').is_file(), 'what a sweep shows of a run'
    for name in NAMES:
        assert [event.step for event in events.Scalars(name)] == [1, 4, 7]


def test_idle_steps_are_not_watched():
    class Runner:
        iter = 5

    hook = MembraneReportHook(interval=3)
    hook.before_train_iter(Runner, 0)  # would need a model
    hook.after_train_iter(Runner, 0)  # would need a visualizer


def test_a_model_without_a_membrane(base, data_root, tmp_path):
    options = tiny_options(base, data_root, **HOOK)
    del options['model.backbone.rank']
    config = CONFIGS / 'demo' / 'digits_lora.py'
    outcome = run_tool('train', config, '--work-dir', tmp_path, *as_arguments(options))
    assert outcome.status == 0, 'other runs of a comparison have one'
    assert 'MembraneReportHook: this model has no membrane' in outcome.out + outcome.err


def test_an_interval_out_of_range():
    with pytest.raises(UserError, match='interval must be at least 1, got 0'):
        MembraneReportHook(interval=0)
