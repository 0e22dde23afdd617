"""Measured accuracies: one record per run, and the tables made of them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from memba_vision.apis.tables import csv_table, markdown_table
from memba_vision.datasets.tasks import MINI_TASKS, OWN_DATA, VTAB1K_TASKS, Task, find_task
from memba_vision.errors import UserError
from memba_vision.files import encoded, sha256_of, write_atomically

COLUMNS = ('method', 'task', 'group', 'top-1 (%)', 'trained parameters')


@dataclass(frozen=True)
class Result:
    """The test accuracy of one run.

    Attributes:
        task: the task's name.
        method: the config's name without the task.
        top1: top-1 accuracy on the test split, in percent.
        test_images: images it was measured on.
        trained_parameters: adapters and head.
        adapter_parameters: adapters alone.
        seed: seed of the run.
        config: path of the config file.
        checkpoint: path of the checkpoint that was tested; empty where none was saved.
        training_seconds: wall-clock time of the training that led to the weights, over all its
            starts; None: unknown.
        peak_memory_mib: of the training, in MiB: what torch allocated on the GPU, without one the
            resident memory of the process. None: unknown.
        checkpoint_sha256: of that file, which tells it from others of the same name. None:
            unknown.
    """

    task: str
    method: str
    top1: float
    test_images: int
    trained_parameters: int
    adapter_parameters: int
    seed: int | None
    config: str
    checkpoint: str
    training_seconds: float | None = None
    peak_memory_mib: float | None = None
    checkpoint_sha256: str | None = None

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        write_atomically(path, (json.dumps(asdict(self), indent=2) + '\n').encode())

    def is_of(self, checkpoint: Path) -> bool:
        """Whether ``checkpoint`` is the file that was tested, in whatever folder it lies now."""
        tested = Path(self.checkpoint)
        if tested.name != checkpoint.name:
            return False
        if self.checkpoint_sha256 is None:  # of an older version: the path is all there is
            return tested.is_file() and tested.samefile(checkpoint)
        return sha256_of(checkpoint) == self.checkpoint_sha256

    def line(self) -> str:
        """The record in one line, for a log."""
        return (
            f'{self.task}, {self.method}: test top-1 {self.top1:.2f} % of '
            f'{self.test_images:,} images, {self.trained_parameters:,} trained parameters'
        )


def table_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Rows under ``COLUMNS``: each method's tasks, the means of its groups and of its tasks.

    The average is the mean over tasks, not over groups. Where tasks of a suite are missing, the
    mean says over how many it is.
    """
    rows, suites = [], _suites(results)
    known = [task for suite in suites for task in suite.values()]
    for method in dict.fromkeys(result.method for result in results):
        own = [result for result in results if result.method == method]
        own.sort(key=lambda result: known.index(_task(result)))
        rows += [_task_row(result) for result in own]
        groups = dict.fromkeys(_task(result).group for result in own)
        if len(own) > 1:
            for group in groups:
                tasks = [task for task in known if task.group == group]
                rows.append(_mean_row(method, f'{group} mean', own, tasks))
            measured = [s for s in suites if any(result.task in s for result in own)]
            tasks = [task for suite in measured for task in suite.values()]
            rows.append(_mean_row(method, 'average', own, tasks))
    return rows


def _suites(results: Sequence[Result]) -> list[dict[str, Task]]:
    tables = [VTAB1K_TASKS, MINI_TASKS]
    own = {result.task: _task(result) for result in results}
    return [*tables, {name: t for name, t in own.items() if not any(name in x for x in tables)}]


def _task(result: Result) -> Task:
    name = result.task
    if name in VTAB1K_TASKS | MINI_TASKS:
        return find_task(name)
    return Task(name, name, num_classes=0, num_test=result.test_images, group=OWN_DATA)


def _task_row(result: Result) -> tuple[str, ...]:
    task = _task(result)
    parameters = f'{result.trained_parameters:,}'
    return result.method, task.name, task.group, f'{result.top1:.2f}', parameters


def _mean_row(
    method: str, label: str, results: Sequence[Result], tasks: Sequence[Task]
) -> tuple[str, ...]:
    values = [result.top1 for result in results if _task(result) in tasks]
    of_all = '' if len(values) == len(tasks) else f' of {len(tasks)}'
    return method, label, f'{len(values)}{of_all} tasks', f'{mean(values):.2f}', ''


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table in Markdown, its columns aligned."""
    return markdown_table([COLUMNS, *rows], numbers_from=3)


def as_csv(rows: Sequence[Sequence[str]]) -> str:
    """The table as comma-separated values."""
    return csv_table([COLUMNS, *rows])


def write_table(path: str, results: Sequence[Result]) -> None:
    """Write the results as ``.md``, ``.csv`` or ``.json``, by the file's ending.

    Raises:
        UserError: another ending.
    """
    check_table_path(path)
    rows = table_rows(results)
    writers = {
        '.md': lambda: as_markdown(rows),
        '.csv': lambda: as_csv(rows),
        '.json': lambda: json.dumps([asdict(result) for result in results], indent=2) + '\n',
    }
    write_atomically(path, encoded(writers[Path(path).suffix]()))


def check_table_path(path: str) -> None:
    """Raise a UserError where a table cannot be written under such a name."""
    if Path(path).suffix not in ('.md', '.csv', '.json'):
        raise UserError(f'--out {path}: the name must end in .md, .csv or .json')
