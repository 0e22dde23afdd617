"""The tasks of mini-VTAB as a dataset."""

from collections.abc import Callable, Sequence
from typing import Any

from memba_vision.datasets.mini_vtab.classes import CLASS_NAMES
from memba_vision.datasets.mini_vtab.write import ensure_task
from memba_vision.datasets.tasks import MINI_TASKS, find_task
from memba_vision.datasets.vtab1k import VTAB1k
from memba_vision.registry import DATASETS


@DATASETS.register_module()
class MiniVTAB(VTAB1k):
    """One task of mini-VTAB: written on first use, then read like any other.

    Args:
        task: a name from :data:`memba_vision.datasets.tasks.MINI_TASKS`.
        data_root: the folder that the tasks are written to, and read from.
        split, pipeline, test_mode, options: see :class:`VTAB1k`.
    """

    def __init__(
        self,
        task: str,
        data_root: str = 'data/mini-vtab',
        split: str = 'train800val200',
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        **options: Any,
    ) -> None:
        find_task(task, MINI_TASKS)
        if task in CLASS_NAMES:
            options['metainfo'] = {'classes': CLASS_NAMES[task], **(options.get('metainfo') or {})}
        super().__init__(task, data_root, split, pipeline, test_mode, **options)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Make the task if it is not there, then read the split's list file."""
        ensure_task(self.data_root, self.task.name)
        return super().load_data_list()
