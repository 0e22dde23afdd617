"""Selection by data before a training: statistics of the task's images, and a record of the choice.

See :mod:`memba_vision.models.peft.selection` for the adapters that choose.
"""

import contextlib
import copy
import hashlib
import json
import logging
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.dist import (
    all_reduce,
    broadcast,
    broadcast_object_list,
    get_world_size,
    is_main_process,
)
from torch import nn
from torch.utils.data import DataLoader

from memba_vision.datasets.wrapped_data import inner_datasets
from memba_vision.engine.kept_features.randomness import generator_states, restore_generators
from memba_vision.files import write_atomically
from memba_vision.models.peft.selection import Batch, Task

SELECTION_FILE = 'selection.json'  # in the run's folder


@dataclass
class Selection:
    """Choices of a model's adapters, and what they were made of.

    Attributes:
        choices: one for each adapter; None for those that choose nothing.
        images: number of images looked at.
        seconds: time it took.
        processes: number of processes that shared the images.
        starts: values at the start of parameters by path, for each adapter that has chosen.
    """

    choices: list[dict | None]
    images: int
    seconds: float
    processes: int
    starts: list[dict[str, torch.Tensor]] = field(default_factory=list)

    def note(self) -> dict[str, Any]:
        """Return what the header of a checkpoint says of it, beside the choices."""
        seconds = round(self.seconds, 3)
        return dict(images=self.images, seconds=seconds, processes=self.processes)


def undecided(model: nn.Module) -> nn.Module | None:
    """Return the adapted backbone of a classifier if its adapters wait for a choice."""
    backbone = getattr(model, 'backbone', None)
    return backbone if getattr(backbone, 'undecided', ()) else None


def selection_seconds(model: nn.Module) -> float:
    """Return the seconds that the selection for a classifier's adapters took, 0 without one."""
    header = getattr(getattr(model, 'backbone', None), 'header', {})
    return header.get('selection', {}).get('seconds', 0.0)


def decide(model: nn.Module, loader: DataLoader, seed: int = 0) -> Selection:
    """Have the adapters of a classifier choose by the images of a loader, and attach them.

    All processes of a run call it, and attach the same. Random generators are left as they were.

    Args:
        model: a classifier of mmpretrain whose backbone is a
            :class:`~memba_vision.models.peft.model.PEFTModel`; where its adapters have nothing to
            choose, nothing is done.
        loader: of the training split.
        seed: of the augmentations, and of a head that has no weights yet.
    """
    backbone = undecided(model)
    if backbone is None:
        return Selection([None] * len(model.backbone.adapters), 0, 0.0, get_world_size())
    with _seeded(seed):
        selection = _select(model, loader)
    attach(model, selection)
    return selection


def attach(model: nn.Module, selection: Selection) -> None:
    """Attach the adapters of a classifier with their choices."""
    model.backbone.decide(selection.choices, selection.note(), selection.starts)


def _select(model: nn.Module, loader: DataLoader) -> Selection:
    began = time.monotonic()
    choices: list[dict | None] = [None] * len(model.backbone.adapters)
    starts: list[dict[str, torch.Tensor]] = [{} for _ in choices]
    images = 0
    for number in model.backbone.undecided:
        adapter, counted = model.backbone.adapters[number], [0]
        statistics = adapter.measure(_task(model, loader, counted))
        choices[number] = adapter.choose(model.backbone.module, statistics)
        found = adapter.starts(statistics, choices[number])
        starts[number] = {path: value.cpu() for path, value in found.items()}
        images += counted[0]
    seen = torch.tensor(images)
    all_reduce(seen)
    seconds = time.monotonic() - began
    shared = [Selection(choices, int(seen), seconds, get_world_size(), starts)]
    broadcast_object_list(shared)  # sums may differ in their last bits
    return shared[0]


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    states = generator_states()
    try:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield
    finally:
        restore_generators(states)


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def _task(model: nn.Module, loader: DataLoader, counted: list[int]) -> Task:
    """Return a copy of a classifier with its data; images are added to ``counted``."""
    copied = copy.deepcopy(model)
    if not getattr(copied, 'is_init', True):
        with _without_messages():  # on each parameter; those of the training come later
            copied.init_weights()
    copied.backbone = copied.backbone.module
    own = {id(parameter) for parameter in copied.backbone.parameters()}
    for parameter in copied.parameters():
        if id(parameter) not in own:
            broadcast(parameter.data)
    copied.eval()

    def batches(images: int | None) -> Iterator[Batch]:
        share = None if images is None else -(-images // get_world_size())
        for batch in _batches(copied, loader, share):
            counted[0] += len(batch.images)
            yield batch

    def loss(batch: Batch) -> torch.Tensor:
        return copied.parse_losses(copied.loss(batch.images, batch.samples))[0]

    def features(batch: Batch) -> torch.Tensor:
        return copied.extract_feat(batch.images)[-1]

    return Task(copied, copied.backbone, batches, loss, features, _total)


def _batches(model: nn.Module, loader: DataLoader, images: int | None) -> Iterator[Batch]:
    """Yield prepared batches of one pass over a loader, at most so many images of it."""
    left = images
    for data in _one_pass(loader):
        prepared = model.data_preprocessor(data, False)
        inputs, samples = prepared['inputs'][:left], prepared['data_samples'][:left]
        yield Batch(inputs, samples, _labels(samples).to(inputs.device))
        if left is not None:
            left -= len(inputs)
            if left <= 0:
                return


def _one_pass(loader: DataLoader) -> DataLoader:
    """Return a loader of one pass: another one, where the training's own never ends.

    An endless sampler goes on where it was left, so looking into it would move the training.
    """
    endless = getattr(loader, 'sampler', None)
    if not isinstance(endless, InfiniteSampler):
        return loader
    same = 'batch_size', 'num_workers', 'collate_fn', 'worker_init_fn', 'drop_last'
    return DataLoader(
        loader.dataset,
        sampler=DefaultSampler(loader.dataset, endless.shuffle, endless.seed),
        **{name: getattr(loader, name) for name in same},
    )


def _labels(samples: Any) -> torch.Tensor:
    if isinstance(samples, torch.Tensor):
        return samples.flatten(1)[:, 0] if samples.ndim > 1 else samples
    return torch.stack([sample.gt_label.flatten()[0] for sample in samples])


def _total(tensor: torch.Tensor) -> torch.Tensor:
    total = tensor.contiguous()
    all_reduce(total)
    return total


def decide_in_run(runner: Any, model: nn.Module, checkpoint: dict | None) -> None:
    """Have the adapters of a run choose, or take up the choice that the run has made.

    That is the one in the checkpoint which the run starts from or, where it was interrupted before
    its first one, in its folder.

    Args:
        runner: with its training data.
        model: its classifier, on its device.
        checkpoint: content of the file that it starts or goes on from; None without one.
    """
    backbone = undecided(model)
    if backbone is None:
        return
    if checkpoint is not None:
        backbone.take_choices(checkpoint['state_dict'], 'backbone.')
        if undecided(model) is None:
            return
    key, path = _key(runner, backbone), Path(runner.work_dir) / SELECTION_FILE
    found = [_read(path, key) if is_main_process() else None]
    broadcast_object_list(found)
    if found[0] is not None:
        attach(model, found[0])
        runner.logger.info(f'The choice of this run by its data is that in {path}')
        return
    names = ', '.join(type(backbone.adapters[n]).__name__ for n in backbone.undecided)
    runner.logger.info(f'{names}: choosing by the training data')
    selection = decide(model, runner.train_dataloader, runner.seed)
    if is_main_process():
        _write(path, key, selection)
    runner.logger.info(
        f'{names}: chosen in {selection.seconds:.1f} s, by {selection.images:,} images; see {path}'
    )


def _key(runner: Any, backbone: nn.Module) -> str:
    """Return a digest of all that a selection follows from."""
    listed = [
        (info.get('img_path'), info.get('gt_label'))
        for dataset in inner_datasets(runner.train_dataloader.dataset)
        for info in getattr(dataset, 'data_list', [])
    ]
    parts = ('model', 'data_preprocessor', 'train_dataloader')
    facts = [backbone.header['adapters'], backbone.base_fingerprint, runner.seed]
    facts += [get_world_size(), listed, *map(runner.cfg.get, parts)]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def _write(path: Path, key: str, selection: Selection) -> None:
    content = dict(of=key, **selection.note(), choices=selection.choices)
    content['holds_all'] = not any(selection.starts)
    write_atomically(path, f'{json.dumps(content, indent=1)}\n'.encode())


def _read(path: Path, key: str) -> Selection | None:
    """Return the selection in a run's folder if it is of the same run and holds all of it."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if content['of'] != key or not content['holds_all']:
            return None
        parts = (content[name] for name in ('choices', 'images', 'seconds', 'processes'))
        return Selection(*parts)
    except (OSError, ValueError, KeyError, TypeError):
        return None
