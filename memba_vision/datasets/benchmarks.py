"""Benchmarks: tasks that belong together, their data, and how they are trained and judged.

One table that configs, sweeps, searches, reports and published results read.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from memba_vision.datasets.tasks import MINI1_TASKS, MINI2_TASKS, OWN_DATA, VTAB1K_TASKS, Task
from memba_vision.errors import UserError


@dataclass(frozen=True)
class Benchmark:
    """Tasks whose mean is reported.

    Attributes:
        name: the name on the command line.
        title: the name in tables.
        tasks: the tasks by name, in the order of the benchmark.
        configs: the folder of its configs in ``configs``.
        dataset: the file of its data in ``configs/_base_/datasets``, without the image size.
        schedule: the file of its recipe in ``configs/_base_/schedules``.
        backbone: the model of ``configs/_base_/models`` that its own configs adapt.
        published: True where results of others are known.
        group_prefix: begins the names of its groups' suites, so that no two benchmarks share one.
    """

    name: str
    title: str
    tasks: dict[str, Task]
    configs: str = ''
    dataset: str = ''
    schedule: str = ''
    backbone: str = ''
    published: bool = False
    group_prefix: str = ''

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The names of the tasks by group, both in the order of the benchmark."""
        groups: dict[str, tuple[str, ...]] = {}
        for task in self.tasks.values():
            groups[task.group] = (*groups.get(task.group, ()), task.name)
        return groups


#: Benchmarks by name.
BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            'vtab1k',
            'VTAB-1k',
            VTAB1K_TASKS,
            configs='vtab1k',
            dataset='vtab1k',
            schedule='vtab1k_100e',
            backbone='vim-small',
            published=True,
        ),
        Benchmark(
            'mini-vtab-1',
            'mini-VTAB 1',
            MINI1_TASKS,
            configs='demo',
            dataset='mini_vtab',
            schedule='mini_vtab_20e',
            backbone='vim-mini',
        ),
        Benchmark(
            'demo',
            'mini-VTAB 2',
            MINI2_TASKS,
            configs='demo',
            dataset='mini_vtab',
            schedule='mini_vtab_10e',
            backbone='vim-mini-v2',
            group_prefix='demo-',
        ),
    )
}


def suites() -> dict[str, tuple[Benchmark, list[Task]]]:
    """Return the suites of a sweep by name: benchmarks, and groups of those that have several."""
    found = {b.name: (b, list(b.tasks.values())) for b in BENCHMARKS.values()}
    for benchmark in BENCHMARKS.values():
        if len(benchmark.groups) > 1:
            for group, names in benchmark.groups.items():
                name = f'{benchmark.group_prefix}{group.lower()}'
                found[name] = (benchmark, [benchmark.tasks[task] for task in names])
    return found


def find_suite(name: str) -> tuple[Benchmark, list[Task]]:
    """Return the benchmark and the tasks of a suite; see :func:`suites`.

    Raises:
        UserError: there is no such suite.
    """
    known = suites()
    if name not in known:
        raise UserError(f'no suite {name!r}; known are {", ".join(known)}')
    return known[name]


def benchmark_of(task: str | None) -> Benchmark | None:
    """Return the benchmark that a task belongs to, None for a task of one's own."""
    return next((b for b in BENCHMARKS.values() if task in b.tasks), None)


def benchmarks_of(tasks: Iterable[str]) -> list[Benchmark]:
    """Return the benchmarks that have any of the tasks; tasks of one's own make a further one."""
    tasks = set(tasks)
    found = [b for b in BENCHMARKS.values() if tasks & set(b.tasks)]
    own = sorted(task for task in tasks if benchmark_of(task) is None)
    if own:
        # The lists of their data say how many classes and images they have.
        rest = {name: Task(name, name, 0, 0, OWN_DATA) for name in own}
        found.append(Benchmark('own', OWN_DATA, rest))
    return found
