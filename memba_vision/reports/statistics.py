"""Means over tasks, groups and seeds."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TypeVar

Key = TypeVar('Key', bound=Hashable)

#: Of all intervals.
CONFIDENCE = 0.95
#: Values by task and seed, of one method.
Scores = Mapping[str, Mapping[int | None, float]]


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

    See :func:`mean_over_groups`; the tasks are a single group.
    """
    return mean_over_groups(scores, [tasks], seeds)


def mean_over_groups(
    scores: Scores, groups: Sequence[Sequence[str]], seeds: Sequence[int | None]
) -> Mean | None:
    """Return the mean over groups of their means over tasks of each task's mean over its seeds.

    The deviation is that of such means from seed to seed: the mean of each seed that has all
    measured tasks, and the deviation of those means. If no run is missing, their mean is the mean.

    Args:
        scores: the measured values.
        groups: the tasks to average, by group; one task gives the mean over its seeds.
        seeds: the planned seeds.

    Returns:
        The mean; None if nothing was measured.
    """
    measured = [[task for task in tasks if scores.get(task)] for tasks in groups]
    measured = [tasks for tasks in measured if tasks]
    if not measured:
        return None
    tasks = [task for group in measured for task in group]
    whole = [seed for seed in seeds if all(seed in scores[task] for task in tasks)]
    by_seed = [_mean({task: scores[task][seed] for task in tasks}, measured) for seed in whole]
    of_tasks = sum(map(len, groups))
    return Mean(
        value=_mean({task: mean(scores[task].values()) for task in tasks}, measured),
        deviation=stdev(by_seed) if len(by_seed) > 1 else None,
        tasks=len(tasks),
        of_tasks=of_tasks,
        runs=sum(len(scores[task]) for task in tasks),
        of_runs=of_tasks * len(seeds),
    )


def best_first(scores: Mapping[Key, Scores], higher_is_better: bool) -> list[Key]:
    """Return the methods by their means over tasks, the best first, and of equals by name.

    A mean over fewer tasks does not compare: methods that lack tasks follow those that have more.

    Args:
        scores: the measured values by method.
        higher_is_better: False where the lowest mean is the best.
    """

    def place(method: Key) -> tuple[int, float, Key]:
        tasks = [task for task, values in scores[method].items() if values]
        found = mean_over_tasks(scores[method], tasks, [])
        value = found.value if found else 0.0
        return -len(tasks), -value if higher_is_better else value, method

    return sorted(scores, key=place)


def part_of(title: str, tasks: Sequence[str], of_all: Sequence[str]) -> str:
    """Return the title of a suite or group, with the number of its tasks if some were left out."""
    few, many = len(tasks), len(of_all)
    return title if few == many else f'{title} ({few} of {many} tasks)'


def _mean(values: Mapping[str, float], groups: Sequence[Sequence[str]]) -> float:
    return mean(mean(values[task] for task in tasks) for tasks in groups)
