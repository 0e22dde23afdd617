"""Means over tasks and seeds, and differences between two methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

#: Values by task and seed, of one method.
Scores = Mapping[str, Mapping[int | None, float]]

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean of one method, with how much of what was planned it rests on.

    Attributes:
        value: of the metric.
        deviation: the standard deviation over seeds (with n - 1); None where fewer than two seeds
            have all of the tasks.
        tasks, of_tasks: how many tasks were measured, of how many.
        runs, of_runs: how many runs are finished, of how many.
    """

    value: float
    deviation: float | None
    tasks: int
    of_tasks: int
    runs: int
    of_runs: int

    @property
    def complete(self) -> bool:
        """Whether no run is missing."""
        return self.runs == self.of_runs

    def remark(self) -> str:
        """What is missing, in words; empty for a complete mean."""
        if self.tasks < self.of_tasks:
            return f'{self.tasks} of {self.of_tasks} tasks'
        if self.complete:
            return ''
        unit = 'seeds' if self.of_tasks == 1 else 'runs'
        return f'{self.runs} of {self.of_runs} {unit}'


def mean_over_tasks(
    scores: Scores, tasks: Sequence[str], seeds: Sequence[int | None]
) -> Mean | None:
    """The mean over tasks of each task's mean over its seeds.

    The deviation is that of the means over tasks from seed to seed: for each seed that has all of
    the measured tasks the mean over them, and then the deviation of those means. Where all runs
    are there, the mean of those means is the same as the mean over tasks.

    Args:
        scores: what was measured.
        tasks: those to average; one task gives the mean over its seeds.
        seeds: those that were planned.

    Returns:
        The mean; None where nothing was measured.
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
    """How much better a method is than a baseline.

    Attributes:
        value: the mean of the paired differences.
        low, high: the ends of its bootstrap interval; None where nothing can be resampled.
        pairs: of runs with the same task and seed.
    """

    value: float
    low: float | None
    high: float | None
    pairs: int


def paired_difference(method: Scores, baseline: Scores, tasks: Sequence[str]) -> Difference | None:
    """The mean difference over tasks, from runs with the same task and seed, with its interval.

    The interval is the middle 95 % of 10,000 means of a bootstrap in two steps: tasks are drawn
    with replacement, and for each of them its seeds. Of one task, its seeds alone are drawn. With
    one seed the interval says how the mean would change with other such tasks, and nothing of the
    noise between seeds; one seed of one task has no interval.

    Returns:
        The difference; None where no run has a partner.
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
    """Means (RESAMPLES,) over tasks drawn with replacement, each with seeds drawn anew."""
    drawn = rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))
    means = np.empty(drawn.shape)
    for number, differences in enumerate(pairs):
        here = drawn == number
        seeds = rng.integers(len(differences), size=(int(here.sum()), len(differences)))
        means[here] = differences[seeds].mean(axis=1)
    return means.mean(axis=1)
