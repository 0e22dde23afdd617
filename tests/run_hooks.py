"""Hooks that test configs add to a run in another process."""

import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import TRANSFORMS
from torch.distributed.distributed_c10d import _get_default_store

from memba_vision.engine import peers, selection
from memba_vision.errors import UserError
from memba_vision.registry import HOOKS


@HOOKS.register_module()
class PauseHook(Hook):
    """Says so, and waits to be killed, in the middle of the third epoch."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx) == (2, 1):
            sys.stdout.write('half way\n')
            sys.stdout.flush()
            time.sleep(300)


@HOOKS.register_module()
class HoldHook(Hook):
    """Says so and waits, in the middle of the third epoch, while ``../hold`` is there."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx) != (2, 1):
            return
        folder = Path(runner.work_dir)
        (folder / 'held').touch()
        while (folder.parent / 'hold').exists() and not runner.termination.requested:
            time.sleep(0.05)


@HOOKS.register_module()
class HoldTrialHook(Hook):
    """Says so and waits, in the third epoch of a search's trial, while ``hold`` is there."""

    def before_train_epoch(self, runner):
        folder = Path(runner.work_dir)
        if runner.epoch == 2:
            (folder / 'held').touch()
            while (folder.parents[2] / 'hold').exists():
                time.sleep(0.05)


@HOOKS.register_module()
class RankReportHook(Hook):
    """Writes what each process of a distributed run measured."""

    def after_test_epoch(self, runner, metrics=None):
        parameters = [p.detach().sum().item() for p in runner.model.parameters()]
        buffers = [b.double().sum().item() for b in runner.model.buffers()]
        model = getattr(runner.model, 'module', runner.model)
        report = {
            'metrics': metrics,
            'parameters': parameters,
            'buffers': buffers,
            'adapters': model.backbone.header['adapters'],
        }
        Path(runner.work_dir, f'rank{get_rank()}.json').write_text(json.dumps(report))


@HOOKS.register_module()
class SignalHook(Hook):
    """Sends SIGTERM, or another signal, to its own process after a step; both count from 0.

    With ``workers_too``, the processes that load data die as well.
    """

    def __init__(
        self, epoch: int, batch: int, workers_too: bool = False, name: str = 'SIGTERM'
    ) -> None:
        self.moment = (epoch, batch)
        self.signal = signal.Signals[name]
        self.workers_too = workers_too

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx) == self.moment:
            os.kill(os.getpid(), self.signal)
            for worker in multiprocessing.active_children() if self.workers_too else ():
                os.kill(worker.pid, signal.SIGKILL)


@HOOKS.register_module()
class FullDiskHook(Hook):
    """From the third epoch on, no file can grow beyond a few bytes."""

    def before_train_epoch(self, runner):
        if runner.epoch == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))


@HOOKS.register_module()
class SignalOneRankHook(Hook):
    """Sends SIGTERM to the second process alone, in the third epoch."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.epoch == 2 and get_rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)


@HOOKS.register_module()
class NaNOneRankHook(Hook):
    """Makes the loss of the second process NaN in the third epoch, before other hooks see it."""

    priority = 'HIGHEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx, get_rank()) == (2, 0, 1):
            outputs['loss'] = outputs['loss'] * float('nan')


@HOOKS.register_module()
class FullDiskOneRankHook(Hook):
    """From the third epoch on, no file of the first process can grow beyond a few bytes."""

    def before_train_epoch(self, runner):
        if (runner.epoch, get_rank()) == (2, 0):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))


@HOOKS.register_module()
class FailOneRankHook(Hook):
    """Ends the second process with an error that nobody foresaw, in the third epoch."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx, get_rank()) == (2, 0, 1):
            raise LookupError('no such thing')


def kill(folder):
    """Kill this process, after a note in ``folder`` on when."""
    Path(folder, 'killed').write_text(str(time.monotonic()))
    os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class KillOneRankHook(Hook):
    """Kills the second process in the third epoch, or another one in another."""

    def __init__(self, rank: int = 1, epoch: int = 2) -> None:
        self.moment = (epoch, 0, rank)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx, get_rank()) == self.moment:
            kill(runner.work_dir)


@HOOKS.register_module()
class KillWhileChoosingHook(Hook):
    """Kills a process after the first images by which its adapters choose."""

    def __init__(self, rank: int, folder: str) -> None:
        look = selection._batches

        def look_and_die(*arguments):
            yield next(look(*arguments))
            kill(folder)

        if get_rank() == rank:
            selection._batches = look_and_die


@HOOKS.register_module()
class HangOneRankHook(Hook):
    """In the third epoch, the first process fails while the second waits for a word of it."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx) == (2, 0):
            peers.GRACE = 2.0
            if get_rank() == 0:
                raise UserError('it broke')
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _get_default_store().get('a word')


@HOOKS.register_module()
class BreakWeightsHook(Hook):
    """Makes the head's weights infinite before the checkpoint of the third epoch."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.epoch == 2 and batch_idx == len(runner.train_dataloader) - 1:
            runner.model.head.fc.weight.data.fill_(float('inf'))


@TRANSFORMS.register_module()
class DieAt:
    """Kills its process at one image, as the system does with one that takes all memory."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, results: dict) -> dict:
        if results['img_path'].endswith(self.name):
            os.kill(os.getpid(), signal.SIGKILL)
        return results


@HOOKS.register_module()
class DisturbHook(Hook):
    """In the middle of the third epoch: waits to be killed, the next time kills itself."""

    def __init__(self, folder: str) -> None:
        self.waited, self.died = Path(folder, 'waited'), Path(folder, 'died')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.epoch, batch_idx) != (2, 1):
            return
        if not self.waited.exists():
            self.waited.write_text(str(os.getpid()))
            time.sleep(300)
        if not self.died.exists():
            self.died.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class SpoilHook(Hook):
    """Leaves other weights in memory than were saved."""

    def after_train(self, runner):
        runner.model.head.fc.bias.data[1:] -= 1e6


@HOOKS.register_module()
class StopHook(Hook):
    """Ends the training after its second epoch, as early stopping does."""

    def after_train_epoch(self, runner):
        runner.train_loop.stop_training = runner.epoch == 1


@HOOKS.register_module()
class ScoreHook(Hook):
    """Puts the scores of a list, one an epoch, in the place of what validations measure."""

    priority = 'HIGHEST'

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def after_val_epoch(self, runner, metrics=None):
        metrics['accuracy/top1'] = self.scores[runner.epoch - 1]
