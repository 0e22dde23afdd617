"""VTAB-1k in the folder format that papers on parameter-efficient fine-tuning share."""

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmengine.dataset import Compose
from mmengine.logging import print_log
from PIL import Image

from memba_vision.datasets.classification import ClassificationDataset
from memba_vision.datasets.keeping_pipeline import KeepingPipeline
from memba_vision.datasets.kept_images import KeptImages
from memba_vision.datasets.loading import with_load_rgb
from memba_vision.datasets.pixels import cannot_read
from memba_vision.datasets.tasks import SPLIT_SIZES, Task, find_task
from memba_vision.datasets.worker_images import WorkerImages
from memba_vision.errors import UserError
from memba_vision.registry import DATASETS

SPLITS = (*SPLIT_SIZES, 'test')
KEPT_IN_TRAINING = 200  # MiB: the thousand images of a task take 144 at 224 x 224 px

HOW_TO_GET_VTAB1K = (
    'download vtab-1k.zip (python tools/prepare_vtab1k.py download, or pip install gdown; gdown '
    '1yZKwiKdsBzTfBgnStRveYMokc7GMMd5p), unpack it (python tools/prepare_vtab1k.py extract) and '
    'set data_root to the folder that holds cifar/, caltech101/, …'
)


@DATASETS.register_module()
class VTAB1k(ClassificationDataset):
    """One task of VTAB-1k (Zhai et al. 2019).

    Reads ``<data_root>/<folder>/<split>.txt``, whose lines are ``relative/path label``. The whole
    list is checked when the dataset is built: a line that does not parse, a label outside the
    task's classes and an image that does not exist are found before the first step.

    Args:
        task: a name from :data:`memba_vision.datasets.tasks.VTAB1K_TASKS`, or a task itself.
        data_root: the folder that holds one folder per task.
        split: 'train800val200' (the published protocol trains on it), 'train800', 'val200' or
            'test'.
        pipeline: transforms of mmpretrain. Its ``LoadImageFromFile`` reads by
            :func:`memba_vision.datasets.pixels.read_rgb`, as prediction does.
        test_mode, metainfo, options: see mmengine's ``BaseDataset``; for instance ``indices=100``
            takes the first 100 images alone.
        keep_images_mib: MiB of images that stay in memory, decoded and resized, so that this is
            done once; 0 keeps none. Without it, ``KEPT_IN_TRAINING``, and 0 in ``test_mode``, since
            most tests read an image once.

    Raises:
        UserError: unknown task or split, or something wrong with the data; the message names the
            file and the line.
    """

    splits: ClassVar[tuple[str, ...]] = SPLITS

    def __init__(
        self,
        task: str | Task,
        data_root: str = 'data/vtab-1k',
        split: str = 'train800val200',
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        metainfo: dict | None = None,
        keep_images_mib: int | None = None,
        **options: Any,
    ) -> None:
        if split not in self.splits:
            raise UserError(f'unknown split {split!r}; known are {", ".join(self.splits)}')
        self.task = task if isinstance(task, Task) else find_task(task)
        self.split = split
        self._worker_images = WorkerImages()
        if keep_images_mib is None:
            keep_images_mib = 0 if test_mode else KEPT_IN_TRAINING
        self._keep_images_mib = keep_images_mib
        self._paths: list[str] = []
        super().__init__(
            ann_file=f'{split}.txt',
            data_root=str(data_root),
            metainfo=metainfo,
            pipeline=pipeline,
            test_mode=test_mode,
            **options,
        )
        if len(self.CLASSES) != self.task.num_classes:
            raise UserError(
                f'metainfo names {len(self.CLASSES)} classes, the task {self.task.name} has '
                f'{self.task.num_classes}'
            )

    @property
    def CLASSES(self) -> Sequence[str]:
        """The names of the classes, or their numbers where the task has no names."""
        return super().CLASSES or [str(label) for label in range(self.task.num_classes)]

    @property
    def pipeline(self) -> Compose:
        """Transforms; images are loaded by ``LoadRGB``, whoever sets the pipeline."""
        return self._pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Compose) -> None:
        kept = KeptImages(self._keep_images_mib)
        kept.expect(self._paths)
        self._pipeline = KeepingPipeline(with_load_rgb(pipeline).transforms, kept)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read and check the split's list file."""
        folder = find_folder(Path(self.data_root), self.task, HOW_TO_GET_VTAB1K)
        list_file = folder / f'{self.split}.txt'
        if not list_file.is_file():
            raise UserError(
                f'{folder} has no list file {list_file.name}: the data is incomplete, unpack or '
                'build it again'
            )
        entries = read_list_file(list_file, self.task.num_classes)
        _check_images_exist(list_file, entries)
        expected = self.expected_size()
        if expected not in (None, len(entries)):
            print_log(
                f'{list_file} lists {len(entries):,} images, the published split has '
                f'{expected:,}: results will not compare with published ones',
                logger='current',
                level=logging.WARNING,
            )
        self._paths = [path for path, _ in entries]
        self.pipeline.kept.expect(self._paths)
        return [{'img_path': path, 'gt_label': label} for path, label in entries]

    def expected_size(self) -> int | None:
        """Return the number of images of the published split; None where none is prescribed."""
        return SPLIT_SIZES.get(self.split, self.task.num_test)

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on one image; an image that cannot be read is named."""
        self._worker_images.record(idx)
        try:
            with warnings.catch_warnings():
                # Pillow only warns of an image that will fill the memory.
                warnings.simplefilter('error', Image.DecompressionBombWarning)
                return super().prepare_data(idx)
        except Exception as error:
            raise cannot_read(self.get_data_info(idx)['img_path'], error) from error

    def images_of_workers(self, message: str) -> dict[int, tuple[int, str]]:
        """Return the images that data workers are reading, or were reading when they died.

        Args:
            message: torch's error message, which names the processes.

        Returns:
            By process id: the time of the start in nanoseconds, and the path.
        """
        return {
            process: (at, self.get_data_info(image)['img_path'])
            for process, (at, image) in self._worker_images.of_processes(message).items()
        }


def find_folder(data_root: Path, task: Task, how_to_get: str) -> Path:
    """Return the folder of ``task``.

    Raises:
        UserError: there is no such folder; the message says how to get the data.
    """
    if not data_root.is_dir():
        raise UserError(f'no data at {data_root}: {how_to_get}')
    folder = data_root / task.folder
    if not folder.is_dir():
        present = sorted(entry.name for entry in data_root.iterdir() if entry.is_dir())
        raise UserError(
            f'{data_root} has no folder {task.folder} for task {task.name}; it holds '
            f'{", ".join(present) or "no folder at all"}: {how_to_get}'
        )
    return folder


def read_list_file(list_file: Path, num_classes: int) -> list[tuple[str, int]]:
    """Return the paths of the images, below the list file's folder, and their labels.

    Raises:
        UserError: the file is empty or not text, a line is not ``path label``, or a label is
            outside ``0 … num_classes - 1``.
    """
    try:
        lines = list_file.read_text(encoding='utf-8-sig').split('\n')
    except UnicodeDecodeError as error:
        raise UserError(
            f'{list_file} is not a text file: unpack or build the data again'
        ) from error
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        path, _, label = line.strip().rpartition(' ')
        if not path or not (label.isascii() and label.isdigit() and len(label) < 10):
            raise UserError(
                f'{list_file}, line {number}: expected "relative/path label", found {line[:80]!r}'
            )
        if int(label) >= num_classes:
            raise UserError(
                f"{list_file}, line {number}: label {label} is outside the task's classes "
                f'0 to {num_classes - 1}'
            )
        entries.append((str(list_file.parent / path.strip()), int(label)))
    if not entries:
        raise UserError(f'{list_file} lists no image: unpack or build the data again')
    return entries


def _check_images_exist(list_file: Path, entries: list[tuple[str, int]]) -> None:
    # One listing per folder: asking for each file takes minutes on network file systems.
    folders = {os.path.dirname(path) for path, _ in entries}
    present = {
        entry.path
        for folder in folders
        if os.path.isdir(folder)
        for entry in os.scandir(folder)
        if entry.is_file(follow_symlinks=False) or os.path.isfile(entry)  # a loop of links is none
    }
    missing = [path for path, _ in entries if path not in present]
    if missing:
        raise UserError(
            f'{list_file} lists {len(missing)} image(s) that do not exist, the first is '
            f'{missing[0]}: put them back, or unpack or build the data again'
        )
