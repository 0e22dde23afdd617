"""Data loader that gives the features of its images, computed once."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch.utils.data import DataLoader

from memba_vision.engine.kept_features.classifier import KeptBatch
from memba_vision.engine.kept_features.computing import (
    Kept,
    Purpose,
    Unkept,
    compute_all,
    features_of,
)
from memba_vision.engine.kept_features.fingerprint import state_of
from memba_vision.engine.kept_features.layout import Layout, same_bits
from memba_vision.engine.kept_features.randomness import generator_states, restore_generators
from memba_vision.engine.kept_features.reasons import reasons_of_backbone


class KeptLoader:
    """Loader for mmengine's loops whose batches are features from its first iteration on.

    That iteration computes the features of all images, in batches of the loader's size. Rounding
    may depend on the number of images in a batch, and on some machine on an image's place in it.
    Therefore the first batch of each size is computed anew and compared. Where a bit differs,
    batches of a smaller size are computed anew every time; all are if they have the loader's size,
    if something random turns up or if the backbone changes. So results are those without this
    loader, to the last bit. On a GPU, whose libraries choose their products by the size of a
    batch, few images prove nothing, as bfloat16 hides most differences: all batches of a smaller
    size are computed anew there.

    Random numbers are drawn as the loader itself would. All other attributes are the loader's.

    Args:
        loader: of single images, the same each time; see
            :func:`~memba_vision.engine.kept_features.reasons.reason_of_data`.
        model: a classifier with a frozen backbone, on the device and in the mode of its use when
            the loader is iterated over.
        purpose: the use of the batches.
    """

    def __init__(self, loader: DataLoader, model: BaseModel, purpose: Purpose) -> None:
        self.loader = loader
        self.model = model
        self.purpose = purpose
        self._kept: Kept | None = None
        self._state: tuple[Any, ...] = ()
        self._layouts: dict[int, list[Layout] | None] = {}  # by the size of a batch
        self._is_given_up = False
        self._has_drawn = False

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the loader."""
        if name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.__dict__['loader'], name)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.loader)

    def __iter__(self) -> Iterator[dict]:
        """Iterate over the batches of an epoch."""
        if not self._is_given_up:
            self._keep()
        return iter(self.loader) if self._is_given_up else self._batches()

    def _keep(self) -> None:
        """Compute all features if there are none, and check that nothing made them untrue."""
        states = generator_states()
        backbone = self.model.backbone
        reason = next(reasons_of_backbone(backbone), None)
        try:
            if self._kept is None and reason is None:
                self._state = state_of(backbone)
                self._kept = compute_all(self.model, self.loader, self.purpose)
                self._report('kept', f'{len(self._kept.samples):,} images, {self._megabytes()} MB')
        except Unkept as error:
            reason = str(error)
        has_drawn = restore_generators(states)
        if reason is None and state_of(backbone) != self._state:
            reason = 'the backbone is no longer what it was'
        if reason is None and has_drawn:
            reason = 'the backbone or a transform draws random numbers'
        if reason is not None:
            self._give_up(reason)

    def _batches(self) -> Iterator[dict]:
        if not (self.loader.persistent_workers and self._has_drawn):
            # The seed of data workers, which each iterator of a loader draws.
            torch.empty((), dtype=torch.int64).random_(generator=self.loader.generator)
            self._has_drawn = True
        for images in self.loader.batch_sampler:
            yield self._batch(list(images))

    def _batch(self, images: list[int]) -> dict:
        if not self._is_given_up and len(images) not in self._layouts:
            self._compare(images)
        layouts = None if self._is_given_up else self._layouts[len(images)]
        if layouts is None:
            return self._collated(images)
        rows = zip(layouts, self._kept.store.get(images), strict=True)
        return KeptBatch(
            inputs=tuple(layout.filled(values) for layout, values in rows),
            data_samples=[self._kept.samples[image] for image in images],
        )

    def _compare(self, images: list[int]) -> None:
        """Compute the first batch of a size anew, and note how it lies in memory."""
        is_smaller = len(images) < min(self.loader.batch_size, len(self.loader.dataset))
        if is_smaller and self.model.data_preprocessor.device.type != 'cpu':
            self._layouts[len(images)] = None
            self._report(
                f'computed anew in batches of {len(images)}',
                f'a GPU may round them in another way than those of {self.loader.batch_size}',
            )
            return
        states = generator_states()
        features = features_of(self.model, self._collated(images), self.purpose)
        restore_generators(states)
        is_same = all(map(same_bits, features, self._kept.store.get(images)))
        self._layouts[len(images)] = [Layout.of(x) for x in features] if is_same else None
        if is_same:
            return
        if is_smaller:
            self._report(
                f'computed anew in batches of {len(images)}',
                f'they round in another way than those of {self.loader.batch_size}',
            )
        else:
            self._give_up('they depend on the place of an image in its batch')

    def _collated(self, images: Sequence[int]) -> dict:
        return self.loader.collate_fn([self.loader.dataset[image] for image in images])

    def _give_up(self, reason: str) -> None:
        self._is_given_up, self._kept = True, None
        self._report('computed anew each epoch', reason)

    def _megabytes(self) -> str:
        return f'{self._kept.store.nbytes / 1e6:,.1f}'

    def _report(self, how: str, detail: str) -> None:
        self.purpose.report(f'Features of the {self.purpose.name} are {how}: {detail}')
