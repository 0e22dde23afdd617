"""Hooks that test configs add to a run in another process."""

import json
import sys
import time
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook

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
class RankReportHook(Hook):
    """Writes what each process of a distributed run measured."""

    def after_test_epoch(self, runner, metrics=None):
        parameters = [p.detach().sum().item() for p in runner.model.parameters()]
        report = {'metrics': metrics, 'parameters': parameters}
        Path(runner.work_dir, f'rank{get_rank()}.json').write_text(json.dumps(report))
