"""Estimates of time and disk space of a run, from a few steps on made-up images."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample

from memba_vision.datasets.benchmarks import benchmark_of
from memba_vision.datasets.tasks import SPLIT_SIZES
from memba_vision.engine.selection import undecided
from memba_vision.errors import UserError
from memba_vision.registry import MODELS
from memba_vision.sweeps.forks import TRAINING
from memba_vision.sweeps.jobs import Job

STEPS = 3
FEWEST = 2  # images of the first batch, for which kernels are compiled
FEW = 4  # images of a small batch
LONG = 1.0  # seconds; the time of a batch that takes longer is estimated from a small one
BUDGET = 80.0  # seconds for the measurement of all models
BYTES_PER_PARAMETER = 12  # in a checkpoint: the weight, and AdamW's two moments
LOG_BYTES = 500_000  # logs, config and record of a run
#: Settings that change nothing, or next to nothing, about the speed of a model.
AS_FAST = ('num_classes', 'lr', 'scale', 'weight_decay')


@dataclass(frozen=True)
class Speed:
    """Measurements of one model.

    Attributes:
        step: seconds of a training step with the config's batch.
        test_batch: seconds of a test batch.
        checkpoint: bytes of a checkpoint.
        is_measured: False for the mean of other models.
    """

    step: float
    test_batch: float
    checkpoint: int
    is_measured: bool = True


@dataclass(frozen=True)
class Cost:
    """Cost of a run, in seconds and in bytes on the disk."""

    seconds: float
    disk: int


def measure_start() -> float:
    """Return the seconds that Python's imports take at the start of a training."""
    began = time.perf_counter()
    subprocess.run([sys.executable, '-c', TRAINING], check=True, capture_output=True)
    return time.perf_counter() - began


def measure_all(jobs: Sequence[Job], device: torch.device) -> dict[str, Speed]:
    """Measure each model once. Its speed depends on the method, hardly on task and seed.

    Models that would not be done within ``BUDGET`` seconds, if they took as long as the one before,
    count as the mean of those of their backbone, or of all.

    Returns:
        The speeds by :func:`model_key`.
    """
    models: dict[str, Job] = {}
    for job in jobs:
        models.setdefault(model_key(job), job)
    deadline = time.monotonic() + BUDGET
    found: dict[str, Speed] = {}
    took = 0.0
    for key, job in models.items():
        began = time.monotonic()
        if found and began + took > deadline:
            break
        found[key] = _measure_run(job, device)
        took = time.monotonic() - began
    measured = [(models[key].backbone.arch, speed) for key, speed in found.items()]
    for key in models.keys() - found.keys():
        arch = models[key].backbone.arch
        alike = [speed for other, speed in measured if other == arch]
        found[key] = _mean(alike or [speed for _, speed in measured])
    return found


def _measure_run(job: Job, device: torch.device) -> Speed:
    try:
        return measure(job.resolved, device)
    except UserError as error:
        raise UserError(f'{job.name} cannot train: {error}') from error


def _mean(speeds: Sequence[Speed]) -> Speed:
    steps, tests = [s.step for s in speeds], [s.test_batch for s in speeds]
    return Speed(mean(steps), mean(tests), max(s.checkpoint for s in speeds), is_measured=False)


def model_key(job: Job) -> str:
    """Return the settings that speed depends on: batch sizes, model and optimizer."""
    config = job.resolved.to_dict()
    batches = [config[f'{part}_dataloader'].get('batch_size') for part in ('train', 'test')]
    return repr(_without_numbers([config['model'], batches, config.get('optim_wrapper')]))


def _without_numbers(settings: Any) -> Any:
    """Return settings without those of ``AS_FAST``."""
    if isinstance(settings, dict):
        kept = {key: value for key, value in settings.items() if key not in AS_FAST}
        return {key: _without_numbers(value) for key, value in kept.items()}
    return [*map(_without_numbers, settings)] if isinstance(settings, list) else settings


def measure(config: Config, device: torch.device) -> Speed:
    """Train and test a model with random weights for a few steps."""
    init_default_scope('mmpretrain')
    settings = config.model.to_dict()
    settings['backbone'].get('module', {}).pop('init_cfg', None)  # any weights are as fast
    settings.setdefault('data_preprocessor', config.get('data_preprocessor'))
    model = MODELS.build(settings).to(device)
    if backbone := undecided(model):
        backbone.decide_without_data()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    train, test = (config[f'{part}_dataloader'].batch_size for part in ('train', 'test'))
    size = _image_size(settings)
    step = _seconds(lambda batch: model.train().train_step(batch, wrapper), train, size, device)
    with torch.no_grad():
        test_batch = _seconds(lambda batch: model.eval().test_step(batch), test, size, device)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Speed(step, test_batch, trained * BYTES_PER_PARAMETER)


def cost(job: Job, speed: Speed, start: float) -> Cost:
    """Estimate the cost of one run."""
    loaders = job.resolved.train_dataloader, job.resolved.test_dataloader
    train_steps, test_batches = (
        -(-_count_images(loader, job.task) // loader.batch_size) for loader in loaders
    )
    counted, total = job.length()
    steps = total * train_steps if counted == 'epochs' else total
    seconds = start + steps * speed.step + test_batches * speed.test_batch
    hook = job.resolved.get('default_hooks', {}).get('checkpoint', {})
    kept = _count_kept(hook, total) + 1  # a new one is whole before an old one goes
    return Cost(seconds, kept * speed.checkpoint + LOG_BYTES)


def _count_kept(hook: Mapping[str, Any], total: int) -> int:
    """Return the number of checkpoints that a training keeps at most; -1 stands for all."""
    most, every = (hook.get(name, -1) for name in ('max_keep_ckpts', 'interval'))
    if most > 0:
        return most
    return -(-total // every) if every > 0 else 1


def _count_images(loader: Config, task: str) -> int:
    dataset = loader.dataset
    benchmark = benchmark_of(task)
    known = benchmark.tasks[task] if benchmark else None
    listed = Path(dataset.get('data_root', ''), known.folder if known else task)
    split = dataset.get('split', 'test' if dataset.get('test_mode') else 'train800val200')
    path = listed / f'{split}.txt'
    if path.is_file():
        return len(path.read_text(encoding='utf-8').splitlines())
    return SPLIT_SIZES.get(split, known.num_test if known else SPLIT_SIZES['train800val200'])


def _image_size(model: dict[str, Any]) -> tuple[int, int]:
    size = model['backbone'].get('module', {}).get('img_size', 224)
    return (size, size) if isinstance(size, int) else tuple(size)


def _made_up_batch(images: int, size: tuple[int, int]) -> dict[str, list]:
    made = torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8)
    return {'inputs': list(made), 'data_samples': [DataSample().set_gt_label(0) for _ in made]}


def _seconds(
    work: Callable[[dict], object], images: int, size: tuple[int, int], device: torch.device
) -> float:
    """Return the seconds that ``work`` takes on a batch: the least of a few calls."""
    work(_made_up_batch(min(FEWEST, images), size))  # compiles kernels
    few = _made_up_batch(min(FEW, images), size)
    seconds = _time(work, few, device) * images / min(FEW, images)
    if seconds > LONG:
        return seconds
    batch = _made_up_batch(images, size)
    work(batch)
    return min(_time(work, batch, device) for _ in range(STEPS))


def _time(work: Callable[[dict], object], batch: dict, device: torch.device) -> float:
    _wait_for(device)
    began = time.perf_counter()
    work(batch)
    _wait_for(device)
    return time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
