"""Differences between two methods in pairs of runs, with intervals and p values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit  # of Student's t; scipy.stats takes a second to import

from memba_vision.reports.statistics import CONFIDENCE, Scores

#: Share of the largest value that differences vary by through rounding: lists have six digits.
ALIKE = 1e-5


@dataclass(frozen=True)
class Difference:
    """Advantage of a method over a baseline.

    Attributes:
        value: mean of the paired differences.
        low, high: ends of its 95 % confidence interval; None if nothing says how it varies.
        p: two-sided p value of no difference; None likewise.
        pairs: number of pairs of runs with the same task and seed.
        unpaired: each task and seed of which one of the two runs or both are missing.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    pairs: int
    unpaired: tuple[tuple[str, int | None], ...] = ()

    @property
    def of_pairs(self) -> int:
        """Number of pairs if no run was missing."""
        return self.pairs + len(self.unpaired)

    def remark(self) -> str:
        """Return the number of pairs if some are missing, otherwise an empty text."""
        return f'{self.pairs} of {self.of_pairs} pairs' if self.unpaired else ''


def paired_difference(
    method: Scores, baseline: Scores, tasks: Sequence[str], seeds: Sequence[int | None]
) -> Difference | None:
    """Return the mean difference over tasks of runs with the same task and seed.

    Tasks are the unit: the interval and the p value are Student's for the mean of the tasks' means
    over their pairs, so that they hold for other such tasks, with the noise between seeds in them.
    Of one task, its pairs are the unit. A single one, or several that are all alike, say nothing
    of how the mean varies, and have neither.

    Args:
        method, baseline: the measured values.
        tasks: the tasks to average.
        seeds: the planned seeds.

    Returns:
        The difference; None if no run has a partner.
    """
    pairs = {task: _pairs(method, baseline, task) for task in tasks}
    paired = [list(pairs[task].values()) for task in tasks if pairs[task]]
    if not paired:
        return None
    units = np.array([np.mean(own) for own in paired] if len(paired) > 1 else paired[0])
    largest = max(abs(value) for task in tasks for value in baseline.get(task, {}).values())
    varies = len(units) > 1 and np.ptp(units) > ALIKE * largest
    low, high, p = map(float, student_interval(units)) if varies else (None, None, None)
    unpaired = [(task, seed) for task in tasks for seed in seeds if seed not in pairs[task]]
    count = sum(map(len, paired))
    return Difference(float(units.mean()), low, high, p, count, tuple(unpaired))


def student_interval(units: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ends of a mean's 95 % confidence interval, and the p value of a mean of zero.

    Args:
        units: independent values (..., units), two or more, that are not all the same.

    Returns:
        Three arrays (...,), by Student's t distribution.
    """
    count = units.shape[-1]
    value, deviation = units.mean(axis=-1), units.std(axis=-1, ddof=1)
    half = half_width(deviation, count)
    p = 2 * stdtr(count - 1, -np.abs(value) * np.sqrt(count) / deviation)
    return value - half, value + half, p


def half_width(deviation: float | np.ndarray, count: int) -> float | np.ndarray:
    """Return half of the 95 % confidence interval of a mean, by Student's t distribution.

    Args:
        deviation: standard deviation (with n - 1) of the values that were averaged.
        count: their number, two or more.
    """
    return stdtrit(count - 1, (1 + CONFIDENCE) / 2) * deviation / np.sqrt(count)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values adjusted for their number (Holm 1979); those that are None stay so.

    With all adjusted values below 0.05 taken for differences, the probability that any of them is
    none is at most 5 %.
    """
    known = sorted((p, place) for place, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = largest
    return adjusted


def _pairs(method: Scores, baseline: Scores, task: str) -> dict[int | None, float]:
    ours, theirs = method.get(task, {}), baseline.get(task, {})
    return {seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs}
