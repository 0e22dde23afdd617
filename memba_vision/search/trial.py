"""One trial: a training in a process of its own, which reports its accuracy after each epoch."""

import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from memba_vision.command_line import prepare_process, user_message
from memba_vision.engine.metric_names import TOP1
from memba_vision.engine.runner import ReadableRunner
from memba_vision.engine.sanity_check import SanityCheckHook
from memba_vision.errors import DiskFull, Terminated, UserError
from memba_vision.runs.training import resume_from

BEAT = 20.0  # seconds between two heartbeats
LOG = 'log.txt'
PRELOADED = ('memba_vision.search.trial', 'mmpretrain.models', 'mmpretrain.datasets')


class Pruned(Exception):
    """The pruner ended the trial."""


class Failed(Exception):
    """The trial cannot be finished, for the reason in the text."""


class Died(Exception):
    """The process of the trial was killed; another try may do better."""


class ReportHook(Hook):
    """Hook that reports the accuracy of each epoch, and stops if the answer is to prune."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.told = 0

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report the accuracy, and wait for the answer."""
        self.told = runner.epoch
        self.connection.send(('epoch', runner.epoch, float(metrics[TOP1])))
        if self.connection.recv():
            raise Pruned


def run_trial(
    config: Config, report: Callable[[int, float], bool], beat: Callable[[], None]
) -> float:
    """Train in a new process, from the newest checkpoint of its folder if it has one.

    Args:
        config: a config with a validation split.
        report: called with the number of an epoch and its validation accuracy in percent; returns
            True to prune.
        beat: called at least every ``BEAT`` seconds while the training goes on.

    Returns:
        The validation accuracy after the last epoch, in percent.

    Raises:
        Pruned: ``report`` returned True.
        Failed: the training ended with an error.
        DiskFull: it found the disk full, as any other trial would.
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
    """Return the way to start processes: without a GPU, forks of one that has imported everything.

    mmengine looks for a GPU when it is imported, and forks of a process that did cannot use it.
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
        with _death_told():
            kind, *said = connection.recv()
        if kind == 'epoch':
            epoch, accuracy = said
            is_bad = report(epoch, accuracy)
            with _death_told():
                connection.send(is_bad)
        elif kind == 'failed':
            raise Failed(said[0])
        elif kind == 'disk full':
            raise DiskFull(said[0])
        elif kind == 'pruned':
            raise Pruned
        elif accuracy is None:
            raise Failed('it ended without a validation')
        else:
            return accuracy


@contextmanager
def _death_told() -> Iterator[None]:
    """Turn the end of the connection to a trial into that of its process."""
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise Died('its process was killed') from error


def _train(config: Config, connection: Connection) -> None:
    """Run a trial in its own process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _write_output_to(Path(config.work_dir, LOG))
    prepare_process()
    try:
        # The config came from another process, which has run its imports as it read the file.
        import_modules_from_strings(**config.get('custom_imports', {'imports': []}))
        resume_from(config, 'auto')
        runner = ReadableRunner.from_cfg(config)
        hook = ReportHook(connection)
        runner.register_hook(hook)
        runner.register_hook(SanityCheckHook({'val': TOP1}))
        runner.train()
        if hook.told < runner.max_epochs:  # killed between its last checkpoint and its validation
            runner.val_loop.run()  # not val(), which would begin a new average of weights (EMAHook)
        connection.send(('finished',))
    except Pruned:
        connection.send(('pruned',))
    except Terminated:
        pass  # the search sees the end of the connection
    except DiskFull as error:
        connection.send(('disk full', str(error)))
    except Exception as error:
        traceback.print_exc()
        is_plain = isinstance(error, UserError)
        reason = user_message(error) if is_plain else f'{type(error).__name__}: {error}'
        connection.send(('failed', reason))


def _end_with_parent() -> None:
    """End the trial if its search was killed: the next search takes it up again."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _write_output_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a') as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
