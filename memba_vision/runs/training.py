"""Training of one config, with the test of what it saved."""

import logging
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from memba_vision.engine.checkpoint_folders import last_checkpoint
from memba_vision.engine.hooks.cost import CostHook
from memba_vision.engine.hooks.keep_features import KeepFeaturesHook
from memba_vision.engine.hooks.loss_curve import LossCurveHook
from memba_vision.engine.hooks.progress import showing_progress
from memba_vision.engine.hooks.resumed_validation import ResumedValidationHook
from memba_vision.engine.metric_names import TOP1
from memba_vision.engine.open_trackers import track_test, trackers_kept_open
from memba_vision.engine.peers import ending_together
from memba_vision.engine.runner import ReadableRunner
from memba_vision.engine.sanity_check import SanityCheckHook
from memba_vision.errors import UserError
from memba_vision.files import check_output_path, remove_unfinished
from memba_vision.runs.checkpoints import (
    archive_later,
    archive_run,
    check_file_of_run,
    checkpoints_newest_first,
    claim_folders,
    first_readable,
    newest_readable,
    run_folders,
)
from memba_vision.runs.record import RECORD_FILE, command_line, record_end, write_record
from memba_vision.runs.result import Result
from memba_vision.runs.testing import record_result

#: Returns the checkpoint to test of a training that has ended.
Choice = Callable[[Runner], Path | None]


def train(config: Config, choose: Choice = last_checkpoint) -> Result | None:
    """Train, test the saved checkpoint, and write the result into the run's folder.

    Args:
        config: of the run.
        choose: returns the checkpoint that is tested, of the training that has ended; see
            :mod:`memba_vision.engine.checkpoint_folders`.

    Returns:
        The result; None for a config that has no test, or that names no task, as one for
        pre-training, whose metrics are in the log alone.

    Raises:
        UserError: something in the config would end the training, or the test after it.
    """
    if config.get('resume') and not config.get('load_from'):
        resume_from(config, 'auto')  # mmengine's way of asking for it
    check_output_path(Path(config.work_dir, RECORD_FILE))
    runner = ReadableRunner.from_cfg(config)
    with ending_together(runner.termination, runner.save_held):
        return _train(runner, choose)


def _train(runner: ReadableRunner, choose: Choice) -> Result | None:
    config = runner.cfg
    _agree_on_resumption(runner)
    runner.register_hook(SanityCheckHook({'test': TOP1} if config.get('task') else {}))
    runner.register_hook(CostHook())
    runner.register_hook(LossCurveHook())
    runner.register_hook(ResumedValidationHook())
    if _keeps_features(config):
        runner.register_hook(KeepFeaturesHook())
    # Builds both datasets: what is wrong with the test data shows before the first step too.
    _, has_test = runner.train_loop, runner.test_loop is not None
    runner.check_classes()  # before anything in the folder is touched
    if is_main_process():
        for folder in run_folders(config):
            remove_unfinished(folder)
        if not config.get('resume'):
            archive_run(config, config.get('load_from'))
        elif config.get('load_from'):
            archive_later(config, config.load_from)
        claim_folders(config)
        write_record(runner, command_line())
    with trackers_kept_open(runner):
        with showing_progress(runner):
            runner.train()
        result = _tested(runner, choose) if has_test else None
    if not has_test:
        runner.logger.warning('There is no result: the config has no test_dataloader')
    if is_main_process():
        record_end(Path(runner.work_dir))
    return result


def _agree_on_resumption(runner: ReadableRunner) -> None:
    """Have all processes go on from the checkpoint that the first one found, or from none.

    The others may have looked at another moment, or into another folder of the same name.
    """
    found = [(runner.cfg.get('load_from'), runner.cfg.get('resume', False))]
    broadcast_object_list(found)
    runner.cfg.load_from, runner.cfg.resume = found[0]
    runner._load_from, runner._resume = found[0]


def resume_from(config: Config, checkpoint: str) -> None:
    """Set ``config`` to go on from ``checkpoint``, or with 'auto' from the newest in its folder.

    With 'auto' and no checkpoint yet, the run starts from the beginning, and that is said.
    """
    path = Path(checkpoint)
    if checkpoint == 'auto':  # a folder of that name is ./auto
        path = first_readable(checkpoints_newest_first(config))
    elif path.is_dir():
        path = newest_readable(path)
        if path is None:
            raise UserError(f'--resume {checkpoint}: there is no checkpoint in this folder')
    else:
        check_file_of_run(checkpoint)
    if path is not None:
        config.load_from = str(path)
    else:
        searched = ' or '.join(map(str, run_folders(config)))
        print_log(
            f'--resume: no checkpoint to go on from in {searched}, '
            'so the training starts at its beginning',
            logger='current',
            level=logging.WARNING,
        )
    config.resume = path is not None


def _keeps_features(config: Config) -> bool:
    setting = config.get('keep_features', True)
    if not isinstance(setting, bool):
        raise UserError(f'config: keep_features is True or False, got {setting!r}')
    return setting


def _tested(runner: ReadableRunner, choose: Choice) -> Result | None:
    found = [choose(runner) if is_main_process() else None]
    broadcast_object_list(found)  # the others may write elsewhere, or not at all
    (checkpoint,) = found
    metrics = _test_saved(runner, checkpoint)
    track_test(runner, metrics)
    return None if runner.cfg.get('task') is None else record_result(runner, metrics, checkpoint)


def _test_saved(runner: ReadableRunner, checkpoint: Path | None) -> dict[str, float]:
    """Test the checkpoint of a training, which may differ from the weights in memory at its end."""
    if checkpoint is not None:
        return runner.test_file(str(checkpoint))
    runner.logger.warning('No checkpoint to read back: what is tested are the weights in memory')
    return runner.test_loop.run()
