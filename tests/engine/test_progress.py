"""Progress on the console: a short line an epoch, and a bar on a terminal."""

import io
import logging
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import DEMO, VALIDATION, as_arguments, run_tool, tiny_options
from mmengine.logging import MessageHub
from mmengine.runner import EpochBasedTrainLoop
from rich.console import Console

from memba_vision.engine.durations import duration
from memba_vision.engine.hooks.progress import ProgressHook
from memba_vision.files import CURVE_FILE
from memba_vision.reports.curves import accuracy_curve, loss_curve

LINE = re.compile(
    r'^\d\d:\d\d:\d\d epoch (\d)/3  loss \d[\d.e+-]*  validation [\d.]+ %  [\d.]+ s'
    r'(  [\d.]+ s left)?$'
)


@pytest.fixture(scope='module')
def trained(base, data_root, tmp_path_factory) -> tuple[str, Path]:
    """What a run of three epochs with validation says, and its folder."""
    folder = tmp_path_factory.mktemp('progress')
    config = folder / 'digits_memba.py'
    config.write_text(f'_base_ = {str(DEMO)!r}\n' + VALIDATION.format(data_root=str(data_root)))
    options = tiny_options(base, data_root, **{'train_cfg.max_epochs': 3})
    outcome = run_tool('train', config, '--work-dir', folder / 'run', *as_arguments(options))
    assert outcome.status == 0, outcome
    (log,) = (folder / 'run').glob('*/*.log')
    assert 'Epoch(train)' in log.read_text(), 'the file has all'
    return outcome.out + outcome.err, folder / 'run'


@pytest.fixture
def console(trained) -> str:
    return trained[0]


def test_losses_and_accuracies_are_known_without_the_logs(trained, tmp_path):
    shutil.copy(trained[1] / CURVE_FILE, tmp_path)
    assert list(loss_curve(tmp_path)) == list(accuracy_curve(tmp_path)) == [1, 2, 3]
    assert accuracy_curve(tmp_path) == accuracy_curve(trained[1])


def test_a_line_an_epoch(console):
    lines = [line for line in console.splitlines() if ' epoch ' in line]
    found = [LINE.match(line) for line in lines]
    assert [match and match[1] for match in found] == ['1', '2', '3'], lines
    assert max(map(len, lines)) <= 100
    assert [bool(match[2]) for match in found] == [True, True, False], 'the last has nothing left'


def test_nothing_else_of_each_epoch(console):
    assert not re.search(
        r'Epoch\((train|val)\)|Saving checkpoint|Checkpoints will|mmengine - |base_lr', console
    )


class FakeDataLoader(list):
    batch_size = 4


def runner(epoch: int, hub: MessageHub, logger: logging.Logger) -> SimpleNamespace:
    return SimpleNamespace(
        epoch=epoch,
        max_epochs=2,
        message_hub=hub,
        logger=logger,
        train_loop=object.__new__(EpochBasedTrainLoop),
        train_dataloader=FakeDataLoader(range(3)),
    )


@pytest.mark.parametrize('is_interrupted', [False, True])
def test_a_bar_on_a_terminal(is_interrupted):
    text, log = io.StringIO(), io.StringIO()
    logger, hub = logging.Logger('made'), MessageHub('made')
    logger.addHandler(logging.StreamHandler(log))
    hook = ProgressHook(Console(file=text, force_terminal=True, width=90, _environ={}))
    hook.begin(runner(0, hub, logger))
    for epoch in range(1 if is_interrupted else 2):
        hook.before_train_epoch(runner(epoch, hub, logger))
        for step in range(3):
            hub.update_scalar('train/loss', 0.5)
            hook.after_train_iter(runner(epoch, hub, logger), step)
            hook._bar.refresh()
        if not is_interrupted:
            hook.after_train_epoch(runner(epoch, hub, logger))
    hook.close()
    shown = re.sub(r'\x1b\[[\d;?]*[a-zA-Z]', '', text.getvalue())
    assert 'images/s' in shown
    assert 'loss 0.5' in shown
    assert ('epoch 2/2  loss 0.5' in shown) is not is_interrupted
    assert text.getvalue().count('\x1b[?25l') == text.getvalue().count('\x1b[?25h') == 1, 'cursor'
    logger.info('Epoch(train) [1]')
    assert log.getvalue() == 'Epoch(train) [1]\n', 'the console is given back'


def test_a_line_that_is_interrupted_is_not_written_again():
    class Interrupted(io.StringIO):
        def write(self, text):
            super().write(text)
            raise KeyboardInterrupt

    hub, text = MessageHub('made'), Interrupted()
    hub.update_scalar('train/loss', 0.5)
    logger = logging.Logger('made')
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    hook, state = ProgressHook(Console(file=text)), runner(0, hub, logger)
    hook.begin(state)
    hook.before_train_epoch(state)
    hook.after_train_epoch(state)
    with pytest.raises(KeyboardInterrupt):
        hook.before_train_epoch(state)
    hook.close()
    assert text.getvalue().count('epoch 1/2') == 1


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(None, ''), (50, '50 s'), (720, '12 min'), (11100, '3 h 05 min'), (187200, '2 d 4 h')],
)
def test_times(seconds, text):
    assert duration(seconds) == text
