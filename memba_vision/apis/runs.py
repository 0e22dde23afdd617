"""Training and testing one config."""

from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper

from memba_vision.apis.checkpoints import newest_readable, set_aside
from memba_vision.apis.config import method_name
from memba_vision.apis.record import command_line, write_record
from memba_vision.apis.results import Result
from memba_vision.engine.hooks.cost import CostHook, recorded_cost
from memba_vision.engine.hooks.parameter_report import count_parameters
from memba_vision.engine.rehearsal import TOP1, RehearsalHook, rehearse_test
from memba_vision.engine.runner import ReadableRunner
from memba_vision.errors import UserError
from memba_vision.files import remove_unfinished
from memba_vision.weights import read_checkpoint

RESULT_FILE = 'result.json'


def train(config: Config) -> Result | None:
    """Train, test what came out, and write the result into the run's folder.

    Returns:
        The result; None for a config that has no test, or that names no task, as one for
        pre-training, whose metrics are in the log alone.

    Raises:
        UserError: something in the config would end the training, or the test after it.
    """
    runner = ReadableRunner.from_cfg(config)
    runner.register_hook(RehearsalHook({'test': TOP1} if config.get('task') else {}))
    runner.register_hook(CostHook())
    # Builds both datasets: what is wrong with the test data shows before the first step too.
    _, has_test = runner.train_loop, runner.test_loop is not None
    if is_main_process():
        remove_unfinished(runner.work_dir)
        if not config.get('resume'):
            set_aside(Path(runner.work_dir), config.get('load_from'))
        write_record(runner, command_line())
    runner.train()
    if not has_test:
        runner.logger.warning('There is no result: the config has no test_dataloader')
        return None
    if config.get('task') is None:
        runner.test()
        return None
    return _test(runner, newest_readable(config.work_dir) if is_main_process() else None)


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
    path = Path(checkpoint) if checkpoint else newest_readable(config.work_dir)
    if path is None:
        peft = f' --peft {config.peft}' if config.get('peft') else ''
        raise UserError(
            f'no checkpoint in {config.work_dir}: train first with '
            f'"python tools/train.py {config.filename}{peft}", or name a checkpoint'
        )
    config.load_from = str(path)
    runner = ReadableRunner.from_cfg(config)
    rehearse_test(runner, TOP1)
    return _test(runner, path)


def resume_from(config: Config, checkpoint: str) -> None:
    """Set ``config`` to go on from ``checkpoint``, or with 'auto' from the newest in its folder.

    With 'auto' and no checkpoint yet, the run starts from the beginning.
    """
    path = newest_readable(config.work_dir) if checkpoint == 'auto' else Path(checkpoint)
    if path is not None:
        config.load_from = str(path)
        config.resume = True


def _test(runner: ReadableRunner, checkpoint: Path | None) -> Result:
    metrics = runner.test()
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    # Only the first process writes: for another one, or where it writes elsewhere, there is none.
    content = read_checkpoint(str(checkpoint)) if checkpoint else {}
    cost = recorded_cost(content)
    result = Result(
        task=runner.cfg.task,
        method=method_name(runner.cfg),
        top1=float(metrics[TOP1]),
        test_images=len(runner.test_dataloader.dataset),
        trained_parameters=count_parameters(model)[0],
        adapter_parameters=count_parameters(model.backbone)[0],
        seed=content.get('meta', {}).get('seed', runner.seed),  # that of the training
        config=str(runner.cfg.filename),
        checkpoint=str(checkpoint or ''),
        training_seconds=cost.get('seconds'),
        peak_memory_mib=cost.get('peak_memory_mib'),
    )
    if is_main_process():
        result.save(Path(runner.work_dir) / RESULT_FILE)
    runner.logger.info(result.line())
    return result
