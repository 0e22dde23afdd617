"""Metrics of results: their names, how their values read, and which way is better."""

from collections.abc import Iterable
from dataclasses import dataclass

from memba_vision.engine.metric_names import TOP1

TEST = 'test'


@dataclass(frozen=True)
class Metric:
    """A metric on a split, of which each run has one value.

    Attributes:
        name: mmengine's name of it, as 'accuracy/top1'.
        higher_is_better: False for errors and losses.
        split: the images that were judged: values on two splits are two metrics, which no table
            mixes.
    """

    name: str = TOP1
    higher_is_better: bool = True
    split: str = TEST

    @property
    def label(self) -> str:
        """The name, with the split unless that is the test."""
        return f'{self.name}{self._of_split}'

    @property
    def _of_split(self) -> str:
        return '' if self.split == TEST else f' on {self.split}'

    @property
    def title(self) -> str:
        """The metric as the heading of a column."""
        direction = '' if self.higher_is_better else ' (lower is better)'
        name = 'top-1 (%)' if self.name == TOP1 else f'{self.name}{direction}'
        return f'{name}{self._of_split}'

    def number(self, value: float, digits: int) -> str:
        """Return a value as tables print it.

        Args:
            value: in percent for top-1.
            digits: of top-1 behind the point; other metrics have four significant digits.
        """
        return f'{value:.{digits}f}' if self.name == TOP1 else f'{value:.4g}'

    def text(self, value: float) -> str:
        """Return a value with its unit, as logs print it."""
        number = self.number(value, 2)
        return f'{number} %' if self.name == TOP1 else f'{self.name} {number}'

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of some values, None of none."""
        return (max if self.higher_is_better else min)(values, default=None)
