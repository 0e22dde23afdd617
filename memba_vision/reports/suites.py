"""Which tasks belong together in one table."""

from collections.abc import Iterable
from dataclasses import dataclass

from memba_vision.datasets.own_data import GROUP as OWN_DATA
from memba_vision.datasets.tasks import MINI_TASKS, VTAB1K_TASKS


@dataclass(frozen=True)
class Suite:
    """Tasks whose mean is reported.

    Attributes:
        name: as it is printed.
        groups: the names of the tasks by group, in the order of the benchmark.
        published: whether there are published results on it.
    """

    name: str
    groups: dict[str, tuple[str, ...]]
    published: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks, group by group."""
        return tuple(task for tasks in self.groups.values() for task in tasks)


def suites_of(tasks: Iterable[str]) -> list[Suite]:
    """The suites that the given tasks belong to; tasks of one's own make one of their own."""
    tasks = set(tasks)
    known = [
        Suite('VTAB-1k', _by_group(VTAB1K_TASKS), published=True),
        Suite('mini-VTAB', _by_group(MINI_TASKS)),
        Suite(OWN_DATA, {OWN_DATA: tuple(sorted(tasks - set(VTAB1K_TASKS | MINI_TASKS)))}),
    ]
    return [suite for suite in known if tasks & set(suite.tasks)]


def _by_group(tasks: dict) -> dict[str, tuple[str, ...]]:
    groups = dict.fromkeys(task.group for task in tasks.values())
    return {
        group: tuple(name for name, task in tasks.items() if task.group == group)
        for group in groups
    }
