import logging
import random
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from helpers import DEMO, as_arguments, run_tool, tiny_options
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import EpochBasedTrainLoop

from memba_vision.engine.console import ConsoleFilter
from memba_vision.engine.hooks import (
    EpochSeedHook,
    FiniteLossHook,
    PlainCheckpointHook,
    TerminationHook,
)
from memba_vision.engine.hooks.loss_curve import LossCurveHook
from memba_vision.errors import UserError
from memba_vision.files import CURVE_FILE
from memba_vision.reports.curves import loss_curve


def draws(seed: int, epoch: int) -> tuple[float, float, float]:
    EpochSeedHook().before_train_epoch(SimpleNamespace(seed=seed, epoch=epoch))
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_an_epoch_draws_the_same_numbers_whatever_came_before():
    first = draws(0, 3)
    torch.rand(5)
    assert draws(0, 3) == first


def test_epochs_and_seeds_draw_other_numbers():
    numbers = [number for seed in (0, 1) for epoch in (0, 1, 2) for number in draws(seed, epoch)]
    assert len(set(numbers)) == 18


@pytest.fixture
def runner(tmp_path) -> SimpleNamespace:
    optimizer = SimpleNamespace(get_lr=lambda: {'lr': [1e-3]})
    return SimpleNamespace(iter=11, epoch=2, work_dir=str(tmp_path), optim_wrapper=optimizer)


@pytest.mark.parametrize('loss', [float('nan'), float('inf'), -float('inf')])
def test_a_loss_that_is_not_finite_is_named_with_its_step(runner, loss):
    with pytest.raises(UserError, match=rf'{loss} at step 12 \(epoch 3, batch 4\).*--resume'):
        FiniteLossHook().after_train_iter(runner, 3, outputs={'loss': torch.tensor(loss)})


def test_a_finite_loss_passes(runner):
    FiniteLossHook().after_train_iter(runner, 3, outputs={'loss': torch.tensor(1e30)})


def test_a_line_of_losses_that_a_kill_cut_off_swallows_no_other(runner, tmp_path):
    runner.train_loop = Mock(spec=EpochBasedTrainLoop)
    (tmp_path / CURVE_FILE).write_text('{"epoch": 1, "loss": 2.0}\n{"epoch": 2, "lo')
    for runner.epoch in (1, 2):
        hook = LossCurveHook()
        hook.after_train_iter(runner, 0, outputs={'loss': torch.tensor(runner.epoch / 2)})
        hook.after_train_epoch(runner)
    assert loss_curve(tmp_path) == {1: 2.0, 2: 0.5, 3: 1.0}
    lines = (tmp_path / CURVE_FILE).read_text().splitlines()
    assert lines[2:] == ['{"epoch": 2, "loss": 0.5}', '{"epoch": 3, "loss": 1.0}']


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_not_saved(runner, value):
    weights = {'header': torch.zeros(3, dtype=torch.uint8), 'up': torch.tensor([1.0, value])}
    with pytest.raises(UserError, match=r'up is not finite after step 12, so it was not saved'):
        FiniteLossHook().before_save_checkpoint(runner, {'state_dict': weights})


def test_decay_rates_that_overflow_are_not_saved(runner):
    """The scan would hide them: what decays at once is 0."""
    weights = {'layers.0.mixer.A_log': torch.tensor([1.0, 89.0])}
    with pytest.raises(UserError, match=r'A_log has logarithms above 88'):
        FiniteLossHook().before_save_checkpoint(runner, {'state_dict': weights})


def test_a_checkpoint_becomes_plain():
    hub = {
        'log_scalars': {'train/loss': HistoryBuffer([1.0], [1])},
        'runtime_info': {'eta': np.float64(2.5), 'epoch': 3},
        'resumed_keys': {'train/loss': True, 'epoch': True},
    }
    PlainCheckpointHook().before_save_checkpoint(None, {'message_hub': hub})
    assert hub.pop('resumed_keys') == {'epoch': True}
    assert hub == {'log_scalars': {}, 'runtime_info': {'eta': 2.5, 'epoch': 3}}
    assert type(hub['runtime_info']['eta']) is float


def test_an_interrupted_save_leaves_the_checkpoint_before_it():
    def fail(*_, **__):
        raise RuntimeError

    hub = MessageHub('interrupted')
    runner = SimpleNamespace(epoch=4, work_dir='', message_hub=hub, hooks=[], save_checkpoint=fail)
    runner.train_loop = object.__new__(EpochBasedTrainLoop)
    hook = TerminationHook()
    hook.held = {'epoch_4.pth': b'good'}
    with pytest.raises(RuntimeError):
        hook.after_train_epoch(runner)
    assert hook.held == {'epoch_4.pth': b'good'}
    assert 'keep_ckpt_ids' not in hub.runtime_info


@pytest.mark.parametrize(
    ('level', 'message', 'shown'),
    [
        (logging.INFO, 'one line', True),
        (logging.INFO, '\none line\n', True),
        (logging.INFO, 'Config:\nmodel = …', False),
        (logging.WARNING, 'a page\nof text', False),
        (logging.ERROR, 'what went\nwrong', True),
        (logging.WARNING, '"HardDiskBackend" is the alias of "LocalBackend"', False),
    ],
)
def test_console_shows_single_lines(level, message, shown):
    record = logging.LogRecord('mmengine', level, 'file', 1, message, None, None)
    assert ConsoleFilter().filter(record) is shown


@pytest.mark.parametrize('hooks', ['dict(_delete_=True)', 'None'])
def test_a_run_with_hooks_of_its_own_leaves_checkpoints_that_load(hooks, base, data_root, tmp_path):
    config = tmp_path / 'own_hooks.py'
    config.write_text(f'_base_ = {str(DEMO)!r}\ndefault_hooks = {hooks}\n')
    options = tiny_options(base, data_root)
    arguments = [config, '--work-dir', tmp_path / 'run', *as_arguments(options)]
    assert run_tool('train', *arguments).status == 0
    (tmp_path / 'run' / 'epoch_2.pth').unlink()
    resumed = run_tool('train', *arguments, '--resume')
    assert resumed.status == 0
    assert 'epoch 2/2' in resumed.out + resumed.err
    assert 'epoch 1/2' not in resumed.out + resumed.err
