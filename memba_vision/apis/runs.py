"""Training and testing one config."""

import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper

from memba_vision.apis.backbone import backbone_of
from memba_vision.apis.checkpoints import (
    checkpoints_newest_first,
    claim_folders,
    first_readable,
    folders,
    newest_readable,
    set_aside,
)
from memba_vision.apis.config import method_name
from memba_vision.apis.record import command_line, write_record
from memba_vision.apis.results import Result
from memba_vision.engine.checkpoint_place import last_saved
from memba_vision.engine.hooks.cost import CostHook, recorded_cost
from memba_vision.engine.hooks.parameter_report import count_parameters
from memba_vision.engine.rehearsal import TOP1, RehearsalHook, rehearse_test
from memba_vision.engine.runner import ReadableRunner
from memba_vision.errors import UserError
from memba_vision.files import remove_unfinished, sha256_of
from memba_vision.weights import read_checkpoint, resolve

RESULT_FILE = 'result.json'


def train(config: Config) -> Result | None:
    """Train, test what came out, and write the result into the run's folder.

    Returns:
        The result; None for a config that has no test, or that names no task, as one for
        pre-training, whose metrics are in the log alone.

    Raises:
        UserError: something in the config would end the training, or the test after it.
    """
    if config.get('resume') and not config.get('load_from'):
        resume_from(config, 'auto')  # mmengine's way of asking for it
    runner = ReadableRunner.from_cfg(config)
    runner.register_hook(RehearsalHook({'test': TOP1} if config.get('task') else {}))
    runner.register_hook(CostHook())
    # Builds both datasets: what is wrong with the test data shows before the first step too.
    _, has_test = runner.train_loop, runner.test_loop is not None
    runner.check_classes()  # before anything in the folder is touched
    if is_main_process():
        for folder in folders(config):
            remove_unfinished(folder)
        if not config.get('resume'):
            set_aside(config, config.get('load_from'))
        claim_folders(config)
        write_record(runner, command_line())
    runner.train()
    if not has_test:
        runner.logger.warning('There is no result: the config has no test_dataloader')
        return None
    found = [last_saved(runner) if is_main_process() else None]
    broadcast_object_list(found)  # the others may write elsewhere, or not at all
    (checkpoint,) = found
    metrics = _test_saved(runner, checkpoint)
    return None if config.get('task') is None else _record(runner, metrics, checkpoint)


def test(config: Config, checkpoint: str | None = None) -> Result:
    """Measure the test accuracy of a checkpoint, or of the newest one of the run's folder.

    Raises:
        UserError: there is no checkpoint, it does not fit the config, or that names no task or
            has no test that gives an accuracy.
    """
    if config.get('task') is None:
        raise UserError(f'{config.filename} names no task, so there is no accuracy to report')
    if config.get('test_dataloader') is None:
        raise UserError(f'{config.filename} has no test_dataloader, so there is nothing to test on')
    path = Path(checkpoint) if checkpoint else newest_readable(config.work_dir, config)
    if path is None:
        peft = f' --peft {config.peft}' if config.get('peft') else ''
        raise UserError(
            f'no checkpoint in {config.work_dir}: train first with '
            f'"python tools/train.py {config.filename}{peft}", or name a checkpoint'
        )
    config.load_from, config.resume = str(path), False
    runner = ReadableRunner.from_cfg(config)
    rehearse_test(runner, TOP1)
    return _record(runner, runner.test(), path)


def resume_from(config: Config, checkpoint: str) -> None:
    """Set ``config`` to go on from ``checkpoint``, or with 'auto' from the newest in its folder.

    With 'auto' and no checkpoint yet, the run starts from the beginning, and that is said.
    """
    path = Path(checkpoint)
    if checkpoint == 'auto':
        path = first_readable(checkpoints_newest_first(config))
    if path is not None:
        config.load_from = str(path)
    else:
        print_log(
            f'--resume: no checkpoint to go on from in {" or ".join(map(str, folders(config)))}, '
            'so the training starts at its beginning',
            logger='current',
            level=logging.WARNING,
        )
    config.resume = path is not None


def _test_saved(runner: ReadableRunner, checkpoint: Path | None) -> dict[str, float]:
    """Test what a training has saved, which need not be what is in memory at its end."""
    if checkpoint is not None:
        return runner.test_file(str(checkpoint))
    runner.logger.warning('No checkpoint to read back: what is tested are the weights in memory')
    return runner.test_loop.run()


def _record(runner: ReadableRunner, metrics: dict[str, float], checkpoint: Path | None) -> Result:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    # Only the first process writes: for another one there may be no such file.
    is_there = checkpoint is not None and is_main_process()
    content = read_checkpoint(str(checkpoint)) if is_there else {}
    cost = recorded_cost(content)
    result = Result(
        task=runner.cfg.task,
        method=method_name(runner.cfg),
        value=float(metrics[TOP1]),
        test_images=len(runner.test_dataloader.dataset),
        trained_parameters=count_parameters(model)[0],
        adapter_parameters=count_parameters(model.backbone)[0],
        seed=content.get('meta', {}).get('seed', runner.seed),  # that of the training
        config=str(runner.cfg.filename),
        checkpoint=str(checkpoint or ''),
        checkpoint_sha256=sha256_of(resolve(str(checkpoint))) if is_there else None,
        training_seconds=cost.get('seconds'),
        peak_memory_mib=cost.get('peak_memory_mib'),
        backbone=backbone_of(runner.cfg, getattr(model.backbone, 'base_fingerprint', None)),
        metric=TOP1,
    )
    if is_main_process():
        result.save(Path(runner.work_dir) / RESULT_FILE)
    runner.logger.info(result.line())
    return result
