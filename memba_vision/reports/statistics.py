"""Means over tasks and seeds, differences between two methods, and intervals of shares."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean, stdev

import numpy as np

#: Values by task and seed, of one method.
Scores = Mapping[str, Mapping[int | None, float]]

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """Mean of one method, and the share of the planned runs that it covers.

    Attributes:
        value: mean of the metric.
        deviation: standard deviation over seeds (with n - 1); None if fewer than two seeds have all
            tasks.
        tasks, of_tasks: number of measured tasks, and of all tasks.
        runs, of_runs: number of finished runs, and of all runs.
    """

    value: float
    deviation: float | None
    tasks: int
    of_tasks: int
    runs: int
    of_runs: int

    @property
    def complete(self) -> bool:
        """True if no run is missing."""
        return self.runs == self.of_runs

    def remark(self) -> str:
        """Return the number of tasks or runs if some are missing, otherwise an empty text."""
        if self.tasks < self.of_tasks:
            return f'{self.tasks} of {self.of_tasks} tasks'
        if self.complete:
            return ''
        unit = 'seeds' if self.of_tasks == 1 else 'runs'
        return f'{self.runs} of {self.of_runs} {unit}'


def mean_over_tasks(
    scores: Scores, tasks: Sequence[str], seeds: Sequence[int | None]
) -> Mean | None:
    """Return the mean over tasks of each task's mean over its seeds.

    The deviation is that of the means over tasks from seed to seed: the mean over tasks of each
    seed that has all measured tasks, and the deviation of those means. If no run is missing, their
    mean is the mean over tasks.

    Args:
        scores: the measured values.
        tasks: the tasks to average; one task gives the mean over its seeds.
        seeds: the planned seeds.

    Returns:
        The mean; None if nothing was measured.
    """
    measured = [task for task in tasks if scores.get(task)]
    if not measured:
        return None
    whole = [seed for seed in seeds if all(seed in scores[task] for task in measured)]
    by_seed = [mean(scores[task][seed] for task in measured) for seed in whole]
    return Mean(
        value=mean(mean(scores[task].values()) for task in measured),
        deviation=stdev(by_seed) if len(by_seed) > 1 else None,
        tasks=len(measured),
        of_tasks=len(tasks),
        runs=sum(len(scores[task]) for task in measured),
        of_runs=len(tasks) * len(seeds),
    )


@dataclass(frozen=True)
class Difference:
    """Advantage of a method over a baseline.

    Attributes:
        value: mean of the paired differences.
        low, high: ends of its bootstrap interval; None if nothing can be resampled.
        pairs: number of pairs of runs with the same task and seed.
    """

    value: float
    low: float | None
    high: float | None
    pairs: int


def paired_difference(method: Scores, baseline: Scores, tasks: Sequence[str]) -> Difference | None:
    """Return the mean difference over tasks of runs with the same task and seed.

    The interval is the middle 95 % of 10,000 means of a bootstrap in two steps: tasks are drawn
    with replacement, and for each of them its seeds. Of one task, its seeds alone are drawn. With
    one seed the interval says how the mean would change with other such tasks, and nothing of the
    noise between seeds; one seed of one task has no interval.

    Returns:
        The difference with its interval; None if no run has a partner.
    """
    pairs = [differences for task in tasks if len(differences := _pairs(method, baseline, task))]
    if not pairs:
        return None
    value = float(np.mean([np.mean(differences) for differences in pairs]))
    count = sum(map(len, pairs))
    if count == 1:
        return Difference(value, None, None, count)
    means = _resampled_means(pairs, np.random.default_rng(0))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(value, float(low), float(high), count)


def _pairs(method: Scores, baseline: Scores, task: str) -> np.ndarray:
    ours, theirs = method.get(task, {}), baseline.get(task, {})
    return np.array([ours[seed] - theirs[seed] for seed in ours if seed in theirs])


def _resampled_means(pairs: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return means (RESAMPLES,) over tasks drawn with replacement, with seeds drawn for each."""
    drawn = rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))
    means = np.empty(drawn.shape)
    for number, differences in enumerate(pairs):
        here = drawn == number
        seeds = rng.integers(len(differences), size=(int(here.sum()), len(differences)))
        means[here] = differences[seeds].mean(axis=1)
    return means.mean(axis=1)


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson (1927), which holds for few and for all right.

    Args:
        right: number of successes.
        total: number of trials, 1 or more.
    """
    quantile = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, spread = right / total, quantile**2 / total
    middle = share + spread / 2
    half = quantile * math.sqrt((share * (1 - share) + spread / 4) / total)
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return max(0.0, low), min(1.0, high)


def sign_test(first: int, second: int) -> float:
    """Return the two-sided p of a sign test (McNemar's, exact) on cases where two methods differ.

    Args:
        first: cases that the first method alone had right.
        second: cases that the second one alone had right.
    """
    total = first + second
    tail = sum(math.comb(total, k) for k in range(min(first, second) + 1))
    return min(1.0, 2 * tail / 2**total)
