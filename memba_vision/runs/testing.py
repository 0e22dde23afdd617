"""Test of one config, and the record of its result."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from memba_vision.datasets.wrapped_data import inner_datasets
from memba_vision.engine.hooks.cost import recorded_cost
from memba_vision.engine.metric_names import TOP1
from memba_vision.engine.plain_model import plain_model
from memba_vision.engine.runner import ReadableRunner
from memba_vision.engine.sanity_check import check_test
from memba_vision.engine.training_checkpoints import read_training_checkpoint
from memba_vision.errors import UserError
from memba_vision.files import check_output_path, sha256_of
from memba_vision.models.parameter_counts import count_parameters
from memba_vision.runs.backbone import backbone_of
from memba_vision.runs.checkpoints import newest_readable
from memba_vision.runs.config import method_name
from memba_vision.runs.folded_test import FoldedTestHook
from memba_vision.runs.metrics import TEST
from memba_vision.runs.record import is_finished
from memba_vision.runs.result import RESULT_FILE, Result, result_file_of
from memba_vision.runs.result_files import read_result
from memba_vision.runs.validation import VALIDATION, validates
from memba_vision.weights import resolve

LOCAL = 'LocalVisBackend'


def test(config: Config, checkpoint: str | None = None) -> Result:
    """Measure the test accuracy of a checkpoint, or of the newest one of the run's folder.

    Adapters are folded (:func:`memba_vision.fold`) unless the config says ``fold_adapters=False``.

    Raises:
        UserError: there is no checkpoint, it does not fit the config, or that names no task or
            has no test that gives an accuracy; or its result would replace that of a validation.
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
    _keep_validation(config)
    check_output_path(Path(config.work_dir, RESULT_FILE))
    _leave_trackers_out(config)
    config.load_from, config.resume = str(path), False
    runner = ReadableRunner.from_cfg(config)
    check_test(runner, TOP1)
    if config.get('fold_adapters', True):
        runner.register_hook(FoldedTestHook())
    return record_result(runner, runner.test(), path, _result_file(Path(config.work_dir), path))


def _leave_trackers_out(config: Config) -> None:
    """Leave mmengine's own log alone: a test gives trackers no number, and they would hold a run.

    Where it draws images, trackers get them.
    """
    draws = config.get('default_hooks', {}).get('visualization', {}).get('enable')
    backends = config.get('visualizer', {}).get('vis_backends')
    if backends and not draws:
        config.visualizer.vis_backends = [b for b in backends if b.get('type') == LOCAL]


def _result_file(folder: Path, checkpoint: Path) -> str:
    """Return the name of the file for the result: that of a run stays what its training ended with.

    A run that has not finished, or is of an older version, has no such result.
    """
    path = folder / RESULT_FILE
    is_own = not is_finished(folder) or not path.is_file() or read_result(path).is_of(checkpoint)
    return RESULT_FILE if is_own else result_file_of(checkpoint)


def _keep_validation(config: Config) -> None:
    """Refuse to test in the folder of a run whose settings are on trial."""
    earlier = Path(config.work_dir) / RESULT_FILE
    try:
        split = read_result(earlier).split
    except (OSError, UserError):
        return  # there is none, or it is damaged
    if split == VALIDATION and not validates(config):
        raise UserError(
            f'{earlier} is a result on {VALIDATION}, by which settings are chosen: to test that '
            'run nevertheless, name its checkpoint, and another --work-dir'
        )


def record_result(
    runner: ReadableRunner,
    metrics: dict[str, float],
    checkpoint: Path | None,
    file: str = RESULT_FILE,
) -> Result:
    """Write the result of a test into the run's folder, and return it.

    Args:
        runner: the runner of the test.
        metrics: measured by it.
        checkpoint: the tested file; None where the weights in memory were tested.
        file: name of the file of the result.
    """
    model = plain_model(runner)
    # Only the first process writes: for another one there may be no such file.
    is_there = checkpoint is not None and is_main_process()
    content = read_training_checkpoint(str(checkpoint)) if is_there else {}
    cost = recorded_cost(content)
    result = Result(
        task=runner.cfg.task,
        method=method_name(runner.cfg),
        value=float(metrics[TOP1]),
        test_images=len(runner.test_dataloader.dataset),
        trained_parameters=count_parameters(model)[0],
        adapter_parameters=count_parameters(model.backbone)[0],
        seed=content['meta'].get('seed') if is_there else runner.seed,  # the training's
        config=str(runner.cfg.filename),
        checkpoint=str(checkpoint or ''),
        checkpoint_sha256=sha256_of(resolve(str(checkpoint))) if is_there else None,
        training_seconds=cost.get('seconds'),
        peak_memory_mib=cost.get('peak_memory_mib'),
        backbone=backbone_of(runner.cfg, getattr(model.backbone, 'base_fingerprint', None)),
        metric=TOP1,
        split=_split_of(runner.test_dataloader.dataset),
        settings=runner.cfg.get('tried', {}),
    )
    if is_main_process():
        result.save(Path(runner.work_dir) / file)
    runner.logger.info(result.line())
    if file != RESULT_FILE:
        runner.logger.info(f'It is in {file}: the result of the run is that of its last checkpoint')
    return result


def _split_of(dataset: Any) -> str:
    """Return the split that tasks with lists of images were read from; others have a test."""
    read = {ds.split for ds in inner_datasets(dataset) if getattr(ds, 'task', None) is not None}
    return '+'.join(sorted(read)) or TEST
