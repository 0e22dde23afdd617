"""A tracker gets what docs/track_and_log.md says, with the test, and is closed once."""

import json

import pytest
from helpers import CONFIGS, VALIDATION, as_arguments, run_tool, tiny_options
from recording_tracker import RECORDING, RecordingVisBackend

MEMBRANE = {
    'default_hooks.membrane_report.type': 'MembraneReportHook',
    'default_hooks.membrane_report.interval': 3,
}
TEST = 'test/accuracy/top1'


@pytest.fixture
def recorded(monkeypatch) -> list[RecordingVisBackend]:
    monkeypatch.setattr(RecordingVisBackend, 'runs', [])
    return RecordingVisBackend.runs


@pytest.fixture
def config(data_root, tmp_path):
    path = tmp_path / 'digits_memba.py'
    base = f'_base_ = {str(CONFIGS / "demo" / "digits_memba.py")!r}\n'
    path.write_text(base + VALIDATION.format(data_root=str(data_root)))
    return path


def test_names_and_steps(recorded, config, base, data_root, tmp_path):
    options = tiny_options(base, data_root, **RECORDING, **MEMBRANE)
    outcome = run_tool('train', config, '--work-dir', tmp_path / 'run', *as_arguments(options))
    assert outcome.status == 0, outcome
    (tracker,) = recorded
    steps = {name: [step for step, _ in points] for name, points in tracker.scalars.items()}
    assert steps['loss'] == steps['lr'] == steps['grad_norm'] == [4, 8], 'once an epoch'
    assert steps['accuracy/top1'] == [1, 2], 'by epoch'
    for name in ('membrane_potential', 'membrane_reset_share', 'gate_sparsity'):
        assert steps[f'{name}/layer_00'] == steps[f'{name}/layer_01'] == [1, 4, 7]
    result = json.loads((tmp_path / 'run' / 'result.json').read_text())
    assert tracker.scalars[TEST] == [(8, pytest.approx(result['value']))]
    assert tracker.closed == 1


def test_an_interrupted_training_closes_nothing(recorded, config, base, data_root, tmp_path):
    """Trackers tell by themselves that a process went without a word."""
    options = tiny_options(base, data_root, **RECORDING)
    options |= {'optim_wrapper.optimizer.lr': 1e30, 'optim_wrapper.clip_grad': None}
    outcome = run_tool('train', config, '--work-dir', tmp_path / 'run', *as_arguments(options))
    assert 'loss' in outcome.error()
    assert recorded[0].closed == 0


def test_a_test_by_itself_opens_no_tracker(recorded, config, base, data_root, tmp_path):
    """It has no number for one, where each start would be a run."""
    alone = {'visualizer.vis_backends': [{'type': 'RecordingVisBackend'}]}
    options = tiny_options(base, data_root, **alone)
    outcome = run_tool('train', config, '--work-dir', tmp_path / 'run', *as_arguments(options))
    assert outcome.status == 0, outcome
    outcome = run_tool('test', tmp_path / 'run')
    assert outcome.status == 0, outcome
    assert len(recorded) == 1
