"""Metrics of results: their names, how their values read, and which way is better."""

from collections.abc import Iterable
from dataclasses import dataclass

TOP1 = 'accuracy/top1'


@dataclass(frozen=True)
class Metric:
    """A metric, of which each run has one value.

    Attributes:
        name: mmengine's name of it, as 'accuracy/top1'.
        higher_is_better: False for errors and losses.
    """

    name: str = TOP1
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        """The metric as the heading of a column."""
        direction = '' if self.higher_is_better else ' (lower is better)'
        return 'top-1 (%)' if self.name == TOP1 else f'{self.name}{direction}'

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
