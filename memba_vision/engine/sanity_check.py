"""Sanity check of a run's data, loss and metrics on a few images before its first step."""

import contextlib
import copy
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_world_size
from mmengine.evaluator import DumpResults
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.amp import autocast
from torch import nn
from torch.utils.data import DataLoader

from memba_vision.datasets.wrapped_data import inner_datasets
from memba_vision.engine.config_errors import CONFIG_ERRORS, one_line
from memba_vision.engine.plain_model import plain_model
from memba_vision.engine.runner import describe_empty_loader, reporting_dead_workers
from memba_vision.errors import UserError

IMAGES = 4  # of a batch that is tried: enough for what mixes images, and little work
_ERRORS = (*CONFIG_ERRORS, IndexError, ArithmeticError, RuntimeError)

_TOPK = (
    'a metric asks for the best k of fewer classes: set its topk, as in {part}_evaluator.topk=(1,)'
)
#: Advice by a part of the error's text.
_ADVICE = {
    'Expected more than 1 value per channel': 'a BatchNorm cannot train on one image: set '
    'train_dataloader.drop_last=True or another train_dataloader.batch_size',
    'selected index k out of range': _TOPK,
    'accuracy is unavailable since the number of categories': _TOPK,
}


class SanityCheckHook(Hook):
    """Try data, loss and metrics once before the training, without changing its results.

    A few images go through the pipeline, the augmentations, the loss, and through the metrics of
    validation and test. Errors there would otherwise show after hours.

    Args:
        needed: a metric that has to be among those of a part, 'val' or 'test'.
    """

    priority = 'HIGHEST'

    def __init__(self, needed: Mapping[str, str]) -> None:
        self.needed = needed

    def before_train(self, runner: Runner) -> None:
        """Try the training, the validation and the test.

        Raises:
            UserError: the training, the validation or the test could not be carried out.
        """
        model = plain_model(runner)
        loops = {'train': runner.train_loop, 'val': runner.val_loop, 'test': runner.test_loop}
        for part, loop in loops.items():
            if loop is not None:
                check_data(runner, model, loop.dataloader, part)
        with _preserving_state(model):
            _try_training(runner, model)
            for part, loop in loops.items():
                if hasattr(loop, 'evaluator'):
                    names = _try_metrics(loop, model, part)
                    _check_names(names, self.needed.get(part), part)
                    if part == 'val':
                        _check_watched(runner.hooks, names)


def check_test(runner: Runner, needed: str) -> None:
    """Try the metrics of the test alone.

    Args:
        runner: with a test.
        needed: a metric that has to be among them.

    Raises:
        UserError: the test could not be carried out.
    """
    model = plain_model(runner)
    loop = runner.test_loop
    check_data(runner, model, loop.dataloader, 'test')
    with _preserving_state(model):
        _check_names(_try_metrics(loop, model, 'test'), needed, 'test')


@contextlib.contextmanager
def _preserving_state(model: nn.Module) -> Iterator[None]:
    """Restore random generators, buffers and modes at the end of the context."""
    states = random.getstate(), np.random.get_state()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = {module: module.training for module in model.modules()}
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def _reporting_errors(part: str, what: str) -> Iterator[None]:
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except _ERRORS as error:
        advice = [text.format(part=part) for said, text in _ADVICE.items() if said in str(error)]
        found = f'{type(error).__name__}: {one_line(error)}'
        raise UserError(f'config: {what} ({found}){"".join(f": {a}" for a in advice)}') from error


def _try_training(runner: Runner, model: nn.Module) -> None:
    """Compute the loss of a small batch, and of one image where the training meets such a batch."""
    loader = runner.train_dataloader
    with _reporting_errors('train', 'train_dataloader gives no batch'):
        batch = _first_batch(loader, 'train')
    if type(model).train_step is not BaseModel.train_step:
        return  # such a step may do anything with a batch
    sizes = [len(batch)] + [1] * (_last_batch(loader) == 1 < len(batch))
    model.train()
    for size in sizes:
        with _reporting_errors('train', f'the training cannot take a step of {size} image(s)'):
            data = loader.collate_fn(batch[:size])
            with _precision(runner, model):
                data = model.data_preprocessor(data, True)
                model.parse_losses(model._run_forward(data, mode='loss'))


def _precision(runner: Runner, model: nn.Module) -> Any:
    wrapper = runner.optim_wrapper
    single = isinstance(wrapper, OptimWrapper)
    return wrapper.optim_context(model) if single else contextlib.nullcontext()


def _try_metrics(loop: Any, model: nn.Module, part: str) -> list[str]:
    """Compute the metrics of a small batch, and return their names."""
    loader = loop.dataloader
    images, size = len(loader.sampler), loader.batch_size or 1
    if loader.drop_last and images % size:
        raise UserError(
            f'{part}_dataloader.drop_last=True leaves out {images % size} of {images:,} images: '
            'set it to False'
        )
    with _reporting_errors(part, f'{part}_dataloader gives no batch'):
        batch = _first_batch(loader, part)
    evaluator = copy.deepcopy(loop.evaluator)
    evaluator.metrics = [m for m in evaluator.metrics if not isinstance(m, DumpResults)]
    model.eval()
    with (
        _reporting_errors(part, f'{part}_evaluator cannot judge what the model says'),
        torch.no_grad(),
    ):
        data = loader.collate_fn(batch)
        with autocast(enabled=getattr(loop, 'fp16', False)):
            outputs = model.test_step(data)
        evaluator.process(outputs, data)
        return list(evaluator.evaluate(len(outputs) * get_world_size()))


def _check_names(names: list[str], needed: str | None, part: str) -> None:
    if needed is not None and needed not in names:
        raise UserError(
            f'{part}_evaluator measures {", ".join(names) or "nothing"}, but not {needed}, of '
            f"which results are made: add dict(type='Accuracy', topk=(1,)), as in {part}_evaluator="
            "[dict(type='Accuracy', topk=(1,)), …]"
        )


def _check_watched(hooks: list[Hook], names: list[str]) -> None:
    """Check that the metrics that hooks monitor (best checkpoint, early stopping) are measured."""
    for hook in hooks:
        for name in (*getattr(hook, 'key_indicators', ()), getattr(hook, 'monitor', 'auto')):
            if name not in ('auto', *names):
                raise UserError(
                    f'{type(hook).__name__} goes by {name}, but val_evaluator measures '
                    f'{", ".join(names) or "nothing"}: name one of these'
                )


def _first_batch(loader: DataLoader, part: str) -> list[Any]:
    """Return the samples of the first images of the first batch."""
    dataset = loader.dataset
    try:
        # A sampler may go on where it was; the dataset in it need not be copied.
        sampler = copy.deepcopy(loader.batch_sampler, {id(dataset): dataset})
    except TypeError:  # an endless one holds a generator
        chosen = range(min(IMAGES, loader.batch_size or 1, len(dataset)))
    else:
        chosen = next(iter(sampler), None)
    if not chosen:
        raise UserError(describe_empty_loader(loader, part))
    chosen = list(chosen)[:IMAGES]
    if not loader.num_workers:
        return [dataset[index] for index in chosen]
    # In a process of its own, as in the training: an image may end the process that reads it.
    once = DataLoader(
        dataset,
        batch_sampler=[chosen],
        num_workers=1,
        collate_fn=list,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )
    with reporting_dead_workers(lambda: dataset):
        (batch,) = once
    return batch


def _last_batch(loader: DataLoader) -> int:
    """Return the number of images in the last batch of an epoch; 0 where it is not known."""
    if not loader.batch_size:
        return 0
    rest = 0 if loader.drop_last else len(loader.sampler) % loader.batch_size
    return rest or loader.batch_size


def check_data(runner: Runner, model: nn.Module, loader: DataLoader, part: str) -> None:
    """Compare the data's tasks and number of classes with the config's task and the head."""
    datasets = inner_datasets(loader.dataset)
    _check_task(runner.cfg.get('task'), datasets, part)
    outputs = getattr(getattr(model, 'head', None), 'num_classes', None)
    classes = max(map(_num_classes, datasets))
    if outputs and classes and outputs != classes:
        raise UserError(
            f'the head has {outputs} outputs, but the data of {part}_dataloader have {classes} '
            f'classes: set model.head.num_classes={classes}'
        )


def _check_task(name: str | None, datasets: list[Any], part: str) -> None:
    """Compare the config's task with that of the data; training data may have further ones."""
    found = {getattr(getattr(dataset, 'task', None), 'name', name) for dataset in datasets}
    if part == 'train' and name in found:
        return
    others = sorted(found - {name})
    if name is not None and others:
        raise UserError(
            f'task is {name!r}, but the data of {part}_dataloader are of '
            f'{", ".join(map(repr, others))}: results would go by a wrong name; set both task and '
            'the task of the datasets'
        )


def _num_classes(dataset: Any) -> int:
    """Return the number of classes that a dataset states; 0 where it states none."""
    task = getattr(dataset, 'task', None)
    names = getattr(dataset, 'metainfo', {}).get('classes') or ()
    return getattr(task, 'num_classes', None) or len(names)
