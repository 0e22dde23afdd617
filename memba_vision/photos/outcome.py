"""Outcome of a test on photos: what a model says of each, and what follows for the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.hub import tqdm

from memba_vision.engine.class_names import describe_difference
from memba_vision.errors import UserError
from memba_vision.photos.source import TEST
from memba_vision.photos.task import PhotoTask
from memba_vision.reports.shares import sign_test, wilson_interval
from memba_vision.serving.predict import Predictor


@dataclass(frozen=True)
class Share:
    """A share of photos, with its 95 % interval by Wilson.

    Attributes:
        right: number of photos.
        total: number of all of them, 1 or more.
    """

    right: int
    total: int

    @property
    def value(self) -> float:
        """The share in percent."""
        return 100 * self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the interval in percent."""
        low, high = wilson_interval(self.right, self.total)
        return 100 * low, 100 * high

    def text(self) -> str:
        """Return the share, its counts and its interval in a line."""
        low, high = self.interval
        return (
            f'{self.value:.1f} % ({self.right:,} of {self.total:,} right; '
            f'95 % interval {low:.1f} to {high:.1f} %)'
        )


@dataclass(frozen=True)
class Outcome:
    """Answers of a model on the photos of the test.

    Attributes:
        classes: names of the classes.
        paths: the photos.
        labels: their classes, (photos,) int.
        scores: probabilities, (photos, classes).
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: np.ndarray
    scores: np.ndarray

    @property
    def answers(self) -> np.ndarray:
        """The most probable class of each photo, (photos,) int."""
        return self.scores.argmax(1)

    @property
    def accuracy(self) -> Share:
        """The share of photos that are named right."""
        return Share(int((self.answers == self.labels).sum()), len(self.labels))

    @property
    def matrix(self) -> np.ndarray:
        """The confusion matrix, (true classes, answers): numbers of photos."""
        counts = np.zeros((len(self.classes),) * 2, int)
        np.add.at(counts, (self.labels, self.answers), 1)
        return counts

    def mistakes(self) -> list[int]:
        """Return the places of photos that are named wrong, the most surely wrong first."""
        true = self.scores[np.arange(len(self.labels)), self.labels]
        wrong = np.flatnonzero(self.answers != self.labels)
        return wrong[np.argsort(true[wrong], kind='stable')].tolist()

    def p_against(self, other: 'Outcome') -> float:
        """Return p of the difference to another model on the same photos, by the sign test."""
        ours, theirs = (outcome.answers == self.labels for outcome in (self, other))
        return sign_test(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))

    def of_most_frequent(self, sizes: Sequence[int]) -> Share:
        """Return the share that is right if every photo is taken for the class of most photos.

        Args:
            sizes: numbers of photos to learn from by class.
        """
        return Share(int((self.labels == int(np.argmax(sizes))).sum()), len(self.labels))


def test_outcome(task: PhotoTask, checkpoint: str) -> Outcome:
    """Return the answers of a checkpoint on the photos of a task's test.

    Raises:
        UserError: it was trained on other classes.
    """
    photos = task.of(TEST)
    number_of = {name: number for number, name in enumerate(task.classes)}
    scores = np.zeros((len(photos), len(task.classes)))
    predictor = Predictor(checkpoint)
    both = f'the classes in {checkpoint} and of the photos'
    difference = describe_difference(predictor.classes, task.classes, both)
    if difference:
        raise UserError(f'{difference}: give another --work-dir')
    found = predictor([str(photo.path) for photo in photos], top=len(task.classes))
    shown = tqdm(found, total=len(photos), desc='test', unit=' photos', disable=None)
    for row, prediction in zip(scores, shown, strict=True):
        for name, probability in prediction.classes:
            row[number_of[name]] = probability
    labels = np.array([number_of[photo.label] for photo in photos])
    return Outcome(task.classes, tuple(photo.path for photo in photos), labels, scores)
