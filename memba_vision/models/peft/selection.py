"""Selection by data: adapters that look at a task's images before they are attached.

Such an adapter measures statistics of the pre-trained model on images of the training split, and
makes a choice of them: plain data, one of its settings, with which it is attached.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.setting_checks import check_whole


class Batch(NamedTuple):
    """Images of the training split, as a backbone takes them.

    Attributes:
        images: (batch, channels, height, width).
        samples: their labels, as :attr:`Task.loss` takes them.
        labels: (batch,), the first label of each image.
    """

    images: torch.Tensor
    samples: Sequence
    labels: torch.Tensor


def _own(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


@dataclass(frozen=True)
class Task:
    """A copy of the classifier before it is adapted, and the data that it is to be adapted to.

    Attributes:
        classifier: the copy, which may be changed, in evaluation mode.
        backbone: its pre-trained backbone.
        batches: called with a number of images, or None for all of the training split; yields this
            process's share of them, or of one pass where there are fewer.
        loss: the classifier's loss of a batch, the mean over its images.
        features: input of the head for a batch, (batch, channels).
        total: returns the sum of a tensor over all processes.
    """

    classifier: nn.Module
    backbone: nn.Module
    batches: Callable[[int | None], Iterator[Batch]]
    loss: Callable[[Batch], torch.Tensor]
    features: Callable[[Batch], torch.Tensor]
    total: Callable[[torch.Tensor], torch.Tensor] = _own


class SelectingAdapter(Adapter):
    """Base class of adapters that choose by data where, or what, they train.

    A subclass measures, chooses, and attaches what it has chosen. All processes of a run measure,
    and what they return has to be the same for all (:attr:`Task.total`).

    Args:
        images: images of the training split that it looks at, at most; None stands for all.
        choice: result of an earlier :meth:`choose`; None is to be chosen still.
    """

    added_later = ('choice',)

    def __init__(self, images: int | None, choice: dict | None) -> None:
        if images is not None:
            check_whole(type(self).__name__, 'images', images)
        if not isinstance(choice, Mapping | None):
            raise UserError(
                f'{type(self).__name__}: choice is a dict by the names of places, got {choice!r}: '
                'leave it out'
            )
        self.images = images
        self.choice = choice

    @abstractmethod
    def measure(self, task: Task) -> dict[str, torch.Tensor]:
        """Return statistics by name, of the pre-trained model on a task's images."""

    @abstractmethod
    def choose(self, backbone: nn.Module, statistics: dict[str, torch.Tensor]) -> dict:
        """Return the choice that statistics lead to, plain data that JSON can hold.

        Args:
            backbone: before it is adapted; it is not changed.
            statistics: of :meth:`measure`.
        """

    @abstractmethod
    def places(self, backbone: nn.Module) -> Collection[str]:
        """Return the names that a choice has an entry for, in a backbone before it is adapted."""

    def check_choice(self, backbone: nn.Module) -> None:
        """Check a choice before a backbone is adapted.

        Raises:
            UserError: it has other places than the backbone.
        """
        differing = sorted(self.choice.keys() ^ set(self.places(backbone)))
        if differing:
            raise UserError(
                f'{type(self).__name__}: its choice does not fit {differing[0]}: it was made for '
                'another backbone than that of the config'
            )

    @abstractmethod
    def without_data(self, backbone: nn.Module) -> dict[str, torch.Tensor]:
        """Return statistics that prefer nothing, of which :meth:`choose` makes the usual size.

        They are on the CPU, though ``backbone`` may have no memory.
        """

    def starts(self, statistics: dict[str, torch.Tensor], choice: dict) -> dict[str, torch.Tensor]:
        """Return values at the start of parameters by their paths in the adapted backbone.

        Those that it has otherwise stay; most adapters give none.
        """
        return {}


def is_undecided(adapter: Adapter) -> bool:
    """Return True for an adapter whose choice is to be made still."""
    return isinstance(adapter, SelectingAdapter) and adapter.choice is None


def parameter_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return the parameter that a tensor is, or is a part of."""
    return tensor if tensor._base is None else tensor._base


def gradient_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return the gradient of a parameter, or of the part of one that ``tensor`` is."""
    parameter = parameter_of(tensor)
    if parameter.grad is None:
        return torch.zeros_like(tensor)
    grad = parameter.grad.contiguous()
    # Neither has to begin where its memory does.
    offset = grad.storage_offset() + tensor.storage_offset() - parameter.storage_offset()
    return grad.as_strided(tensor.shape, tensor.stride(), offset)


def sum_gradients(
    task: Task,
    images: int | None,
    weights: dict[str, torch.Tensor],
    loss: Callable[[Batch], torch.Tensor],
    power: int = 1,
) -> dict[str, torch.Tensor]:
    """Return the sum over batches of the gradients of a loss, or of their ``power``, by name.

    The gradient of a batch is that of all processes, as in a training.

    Args:
        task: see :class:`Task`; everything but ``weights`` is frozen in its classifier.
        images: see :attr:`Task.batches`.
        weights: parameters of its backbone, or parts of them.
        loss: of a batch.
        power: of each gradient.
    """
    task.classifier.requires_grad_(False)
    parameters = {id(p): p for p in map(parameter_of, weights.values())}.values()
    for parameter in parameters:
        parameter.requires_grad_(True)
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for batch in task.batches(images):
        for parameter in parameters:
            parameter.grad = None
        value = loss(batch)
        if value.requires_grad:
            value.backward()
        for name, weight in weights.items():
            sums[name] += task.total(gradient_of(weight)) ** power
    return sums
