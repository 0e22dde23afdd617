"""Classes and probabilities for images, from a checkpoint of a run."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from memba_vision.datasets.own_data import CLASSES, read_classes
from memba_vision.engine.class_names import check_names, check_number, names_of_checkpoint
from memba_vision.engine.training_checkpoints import (
    load_training_checkpoint,
    read_training_checkpoint,
)
from memba_vision.errors import UserError
from memba_vision.files import csv_table, escape_surrogates
from memba_vision.models.peft import fold
from memba_vision.runs.checkpoints import find_checkpoint
from memba_vision.runs.record import read_config
from memba_vision.serving.images import ImagePipeline, batches
from memba_vision.serving.shared import from_pretrained, is_shared
from memba_vision.zoo.arguments import default_device, is_positive_integer, move_to_device
from memba_vision.zoo.models import build_classifier


@dataclass(frozen=True)
class Prediction:
    """The classes that a model finds in one image.

    Attributes:
        image: the image's path.
        label: the number of the class with the highest probability.
        classes: names of classes and their probabilities, the highest first.
    """

    image: str
    label: int
    classes: tuple[tuple[str, float], ...]


def load_trained(
    checkpoint: str | Path, config: Config | None = None, device: str | None = None
) -> nn.Module:
    """Return the classifier of a run, in evaluation mode, with the names of its classes.

    Args:
        checkpoint: a run: its folder, a checkpoint of it, or an adapter file (of
            ``tools/export.py``), which does not name its classes; or what
            :func:`memba_vision.from_pretrained` takes, ``hf://OWNER/NAME`` or a folder.
        config: of its run; None takes it from the record beside the checkpoint. Configs are code.
        device: the device of the model.

    Raises:
        UserError: something is missing, damaged or does not fit, or there is no such device.
    """
    if config is None and is_shared(checkpoint):
        return from_pretrained(checkpoint, device=device)
    checkpoint = find_checkpoint(checkpoint)
    content = read_training_checkpoint(str(checkpoint))
    model = build_classifier(config or read_config(checkpoint.parent))
    load_training_checkpoint(model, content, str(checkpoint))
    names = names_of_checkpoint(content['meta'])
    if names is not None:
        check_number(names, model.head.num_classes, str(checkpoint))
        model._dataset_meta = {'classes': names}
    return move_to_device(model, device).eval()


class Predictor:
    """A trained model with the names of its classes, its adapters folded.

    Args:
        checkpoint: a run, as :func:`load_trained` takes it.
        config: of its run; None takes it from the record beside the checkpoint. Configs are code.
        device: the device; None takes a GPU if there is one.

    Attributes:
        named: the names of the classes, out of the checkpoint; None where it has none.
        classes: the same; numbers where it has no names.

    Raises:
        UserError: something is missing, damaged or does not fit.
    """

    def __init__(
        self, checkpoint: str, config: Config | None = None, device: str | None = None
    ) -> None:
        self.model = fold(load_trained(checkpoint, config, device or default_device()))
        self.pipeline = ImagePipeline(self.model._config)
        self.named = self.model._dataset_meta.get('classes')
        self.classes = self.named or [str(n) for n in range(self.model.head.num_classes)]

    def compare_classes(self, list_file: Path, renamed: bool = False) -> None:
        """Compare the classes of the model with those of the task that a list file belongs to.

        Args:
            list_file: of a task; where no ``classes.txt`` lies beside it, or the checkpoint names
                no classes, there is nothing to compare.
            renamed: other names are taken for the same classes.

        Raises:
            UserError: they are not the same.
        """
        if not (list_file.parent / CLASSES).is_file():
            return
        names, path = read_classes(list_file.parent), list_file.parent / CLASSES
        if self.named is None:
            check_number(names, len(self.classes), str(path))
        else:
            source = f'the classes of the checkpoint and of {path}'
            check_names(self.named, names, source, renamed)

    def __call__(
        self,
        images: Sequence[str],
        top: int = 1,
        batch_size: int = 32,
        unreadable: dict[int, UserError] | None = None,
    ) -> Iterator[Prediction]:
        """Predict, image by image in the given order.

        Args:
            images: paths.
            top: number of classes to name, the most probable first.
            batch_size: images at a time.
            unreadable: gets the error of each image that cannot be read, by its place in
                ``images``, and the others are predicted; None raises the first one.

        Raises:
            UserError: an image cannot be read, or ``top`` or ``batch_size`` is not positive.
        """
        if not is_positive_integer(top):
            raise UserError(f'top must be at least 1, and whole, got {top!r}')
        skipped = {} if unreadable is None else unreadable
        paths = (path for place, path in enumerate(images) if place not in skipped)
        for batch in batches(self.pipeline, images, batch_size, unreadable):
            with torch.no_grad():
                samples = self.model.test_step(batch)
            for sample in samples:
                yield self._prediction(next(paths), sample.pred_score.float().cpu(), top)

    def _prediction(self, path: str, scores: torch.Tensor, top: int) -> Prediction:
        best = scores.topk(min(top, len(scores)))
        classes = [(self.classes[i], p) for p, i in zip(*(t.tolist() for t in best), strict=True)]
        return Prediction(str(path), int(best.indices[0]), tuple(classes))


def csv_pieces(predictions: Iterable[Prediction]) -> Iterator[str]:
    """Yield lines ``image,class,probability``, a piece per image with a line per named class."""
    yield csv_table([('image', 'class', 'probability')])
    for p in predictions:
        yield csv_table([(p.image, name, f'{value:.6f}') for name, value in p.classes])


def json_pieces(predictions: Iterable[Prediction]) -> Iterator[str]:
    """Yield the pieces of a JSON list with the path and the probabilities of each image.

    What is no UTF-8 in a path is escaped, as JSON has it: reading the file gives the path again.
    """
    separator = '[\n'
    for p in predictions:
        classes = [{'class': name, 'probability': value} for name, value in p.classes]
        entry = {'image': p.image, 'classes': classes}
        text = json.dumps(entry, indent=1, ensure_ascii=False).replace('\n', '\n ')
        yield f'{separator} {escape_surrogates(text)}'
        separator = ',\n'
    yield '[]\n' if separator == '[\n' else '\n]\n'


def confusion_csv(
    predictions: Sequence[Prediction], labels: Sequence[int], classes: Sequence[str]
) -> str:
    """Return the confusion matrix as csv: a row per true class, a column per predicted one."""
    counts = [[0] * len(classes) for _ in classes]
    for prediction, label in zip(predictions, labels, strict=True):
        counts[label][prediction.label] += 1
    rows = [(name, *row) for name, row in zip(classes, counts, strict=True)]
    return csv_table([('true class', *classes), *rows])
