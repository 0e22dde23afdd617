"""One trial: a training in a process of its own, which tells its accuracy epoch by epoch."""

import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from memba_vision.command_line import prepare_process, user_message
from memba_vision.engine.rehearsal import TOP1, RehearsalHook
from memba_vision.engine.runner import ReadableRunner
from memba_vision.errors import DiskFull, Terminated, UserError
from memba_vision.runs.training import resume_from

BEAT = 20.0  # seconds between two signs of life
LOG = 'log.txt'
PRELOADED = ('memba_vision.search.trial', 'mmpretrain.models', 'mmpretrain.datasets')


class Pruned(Exception):
    """The trial is not worth going on with."""


class Failed(Exception):
    """The trial cannot be finished, for the reason in the text."""


class NoRoom(Exception):
    """The disk is full: any other trial would fail too."""


class Died(Exception):
    """The process of the trial was killed; another try may do better."""


class ReportHook(Hook):
    """Tells the validation accuracy of each epoch, and stops where the answer is to prune."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.told = 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Tell, and wait for the answer."""
        self.told = runner.epoch
        self.connection.send(('epoch', runner.epoch, float(metrics[TOP1])))
        if self.connection.recv():
            raise Pruned


def run_trial(
    config: Config, report: Callable[[int, float], bool], beat: Callable[[], None]
) -> float:
    """Train in a new process, from the newest checkpoint of its folder if it has one.

    Args:
        config: with a validation split.
        report: takes the number of an epoch and its validation accuracy in percent, and says
            whether to prune.
        beat: called every now and then while the training goes on.

    Returns:
        The validation accuracy after the last epoch, in percent.

    Raises:
        Pruned: ``report`` said so.
        Failed: the training ended with an error.
        NoRoom: it found the disk full.
        Died: its process was killed.
    """
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_train, args=(config, theirs))
    process.start()
    theirs.close()
    try:
        return _follow(ours, report, beat)
    finally:
        process.kill()
        process.join()


def _context() -> BaseContext:
    """How processes are started: from one that has imported everything, except for a GPU.

    mmengine looks for a GPU when it is imported, and a process that did cannot fork into one that
    uses it.
    """
    if torch.cuda.is_available():
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _follow(
    connection: Connection, report: Callable[[int, float], bool], beat: Callable[[], None]
) -> float:
    accuracy = None
    while True:
        while not connection.poll(BEAT):
            beat()
        beat()
        try:
            kind, *said = connection.recv()
        except (EOFError, ConnectionError) as error:
            raise Died('its process was killed') from error
        if kind == 'epoch':
            epoch, accuracy = said
            connection.send(report(epoch, accuracy))
        elif kind == 'failed':
            raise Failed(said[0])
        elif kind == 'no room':
            raise NoRoom(said[0])
        elif kind == 'pruned':
            raise Pruned
        elif accuracy is None:
            raise Failed('it ended without a validation')
        else:
            return accuracy


def _train(config: Config, connection: Connection) -> None:
    """What the process of a trial does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _write_output_to(Path(config.work_dir, LOG))
    prepare_process()
    try:
        # Reading a config file imports what it names; here it came from another process.
        import_modules_from_strings(**config.get('custom_imports', {'imports': []}))
        resume_from(config, 'auto')
        runner = ReadableRunner.from_cfg(config)
        hook = ReportHook(connection)
        runner.register_hook(hook)
        runner.register_hook(RehearsalHook({'val': TOP1}))
        runner.train()
        if hook.told < runner.max_epochs:  # killed between its last checkpoint and its validation
            runner.val_loop.run()  # not val(), which would begin a new average of weights (EMAHook)
        connection.send(('finished',))
    except Pruned:
        connection.send(('pruned',))
    except Terminated:
        pass  # the end of the connection says it
    except DiskFull as error:
        connection.send(('no room', str(error)))
    except Exception as error:
        traceback.print_exc()
        is_plain = isinstance(error, UserError)
        reason = user_message(error) if is_plain else f'{type(error).__name__}: {error}'
        connection.send(('failed', reason))


def _end_with_parent() -> None:
    """A trial whose search was killed must not go on: the next search takes it up again."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _write_output_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a') as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
