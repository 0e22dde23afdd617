"""Tasks of one's own: the folder format of VTAB-1k with the names of the classes beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from memba_vision.datasets.tasks import OWN_DATA, Task
from memba_vision.datasets.vtab1k import SPLITS, VTAB1k
from memba_vision.errors import UserError
from memba_vision.registry import DATASETS

CLASSES = 'classes.txt'
HOW_TO_BUILD = (
    'build it with "python tools/prepare_vtab1k.py build --from FOLDER --task NAME --out ROOT"'
)


def read_classes(folder: str | Path) -> list[str]:
    """Return the names of a task's classes, the lines of ``classes.txt``, in the order of labels.

    Raises:
        UserError: there is no such file, or it names fewer than two classes or one twice.
    """
    path = Path(folder, CLASSES)
    if not path.is_file():
        raise UserError(f'there is no {path}: {HOW_TO_BUILD}')
    try:
        names = path.read_text(encoding='utf-8-sig').split('\n')
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is not a text file: {HOW_TO_BUILD}') from error
    names = names[:-1] if names[-1] == '' else names
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise UserError(
            f'{path}: expected two or more different names, one a line, found {len(names)} '
            f'line(s) with {len(set(names) - {""})} different name(s)'
        )
    return names


def own_task(data_root: str | Path, name: str) -> Task:
    """Return the task in the folder ``data_root/name``, whose number of test images is free."""
    classes = read_classes(Path(data_root, name))
    return Task(name, name, len(classes), num_test=0, group=OWN_DATA)


@DATASETS.register_module()
class OwnData(VTAB1k):
    """A task that ``tools/prepare_vtab1k.py build`` or ``tools/adapt.py`` made of one's own images.

    The names of the classes, from ``classes.txt``, go into every checkpoint. Lists may name images
    anywhere, by absolute paths.

    Args:
        task: the folder's name below ``data_root``.
        split: one of VTAB-1k's, or 'train' or 'val' of ``tools/adapt.py``.
        data_root, pipeline, test_mode, metainfo, options: see :class:`VTAB1k`.
    """

    splits = (*SPLITS, 'train', 'val')

    def __init__(
        self,
        task: str,
        data_root: str = 'data/own',
        split: str = 'train800val200',
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        metainfo: dict | None = None,
        **options: Any,
    ) -> None:
        classes = read_classes(Path(data_root, task))
        super().__init__(
            own_task(data_root, task),
            data_root,
            split,
            pipeline,
            test_mode,
            dict(classes=classes) | (metainfo or {}),
            **options,
        )

    def expected_size(self) -> None:
        """Return None: a task of one's own has as many images as it has."""
