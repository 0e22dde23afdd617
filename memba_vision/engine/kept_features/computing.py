"""Computation of the features of all images of a loader."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from memba_vision.engine.kept_features.fingerprint import settings_of
from memba_vision.engine.kept_features.layout import overlaps, same_bits
from memba_vision.engine.kept_features.store import (
    IN_MEMORY,
    FeatureStore,
    digest_of,
    open_store,
)

Features = tuple[torch.Tensor, ...]


class Unkept(Exception):
    """The reason why features cannot be kept."""


@dataclass(frozen=True)
class Purpose:
    """The use of a loader's batches.

    Attributes:
        name: 'training images' or 'validation images', for messages.
        file: the place of features that do not fit into memory.
        training: True if the data preprocessor is to prepare them for training.
        precision: the context that the model computes in.
        is_ending: returns True once the run was asked to end.
        report: takes a line for the log.
        limit: bytes of features to keep in memory.
    """

    name: str
    file: Path
    training: bool
    precision: Callable[[], AbstractContextManager]
    is_ending: Callable[[], bool]
    report: Callable[[str], None]
    limit: int = IN_MEMORY


@dataclass(frozen=True)
class Kept:
    """Features of all images of a dataset, and their samples as the data preprocessor left them."""

    store: FeatureStore
    samples: list[DataSample]


def features_of(model: BaseModel, data: dict, purpose: Purpose) -> Features:
    """Return the outputs of a classifier's backbone for a collated batch, (batch, …) each."""
    with purpose.precision():
        return model.backbone(model.data_preprocessor(data, purpose.training)['inputs'])


def compute_all(model: BaseModel, loader: DataLoader, purpose: Purpose) -> Kept:
    """Compute the features of all images, in batches of one size.

    Raises:
        Unkept: they cannot be kept.
    """
    chunks = even_chunks(len(loader.dataset), loader.batch_size)
    store, samples, shapes = None, {}, set()
    with purpose.precision():
        settings = settings_of(model.backbone, model.data_preprocessor.device)
        for number, (images, data) in enumerate(zip(chunks, _loaded(loader, chunks), strict=True)):
            if purpose.is_ending():
                raise Unkept('the run is about to end')
            shapes.update(image.shape for image in data['inputs'])
            if len(shapes) > 1:  # the data preprocessor fills up images to the largest of a batch
                raise Unkept('the images have different sizes')
            prepared = model.data_preprocessor(data, purpose.training)
            samples.update(zip(images, _checked(prepared['data_samples']), strict=True))
            inputs = prepared['inputs']
            compute = cache(partial(model.backbone, inputs))
            if store is None:
                store = _begun(compute(), images, loader, purpose)
            store.add(number, images, partial(digest_of, inputs, settings), compute)
    return Kept(store, [samples[image] for image in range(len(loader.dataset))])


def even_chunks(images: int, size: int) -> list[list[int]]:
    """Return all images in batches of one size; the first images fill up the last batch."""
    size = min(size, images)
    return [[i % images for i in range(start, start + size)] for start in range(0, images, size)]


def _loaded(loader: DataLoader, chunks: list[list[int]]) -> Iterable[dict]:
    # A generator of its own: the order of the training's random numbers stays as it is.
    return DataLoader(
        loader.dataset,
        batch_sampler=chunks,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=torch.Generator(),
    )


def _begun(features: Any, images: list[int], loader: DataLoader, purpose: Purpose) -> FeatureStore:
    """Return the store for all features, which may be a file that an earlier process began."""
    is_tuple = isinstance(features, tuple) and all(map(torch.is_tensor, features))
    if not is_tuple or any(x.shape[:1] != (len(images),) or overlaps(x) for x in features):
        raise Unkept('the backbone gives something else than a tuple of (batch, …)')
    number = len(loader.dataset)
    batches = math.ceil(number / len(images))
    try:
        store = open_store(purpose.file, number, batches, features, purpose.limit)
    except OSError as error:
        raise Unkept(f'they find no room in {purpose.file} ({error.strerror})') from error
    if not all(map(same_bits, features, store.get(images))):
        store.forget()  # an earlier process computed in some other way
    return store


def _checked(samples: Sequence[DataSample] | None) -> Sequence[DataSample]:
    if samples is None or any(type(sample) is not DataSample for sample in samples):
        raise Unkept('the images have no labels, or several')
    return samples
