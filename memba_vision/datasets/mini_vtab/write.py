"""Write the tasks of mini-VTAB in the folder format of VTAB-1k."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from memba_vision.datasets.mini_vtab.azimuth import make_azimuth
from memba_vision.datasets.mini_vtab.cells import make_cells
from memba_vision.datasets.mini_vtab.counting import make_counting
from memba_vision.datasets.mini_vtab.digits import make_digits
from memba_vision.datasets.mini_vtab.letters import make_letters
from memba_vision.datasets.mini_vtab.nearest_distance import make_nearest_distance
from memba_vision.datasets.mini_vtab.orientation import make_orientation
from memba_vision.datasets.mini_vtab.splits import Split
from memba_vision.datasets.mini_vtab.sprites import make_sprites_location, make_sprites_orientation
from memba_vision.datasets.mini_vtab.street_digits import make_street_digits
from memba_vision.datasets.mini_vtab.terrain import make_terrain
from memba_vision.datasets.mini_vtab.textures import make_textures
from memba_vision.datasets.tasks import MINI_TASKS, find_task
from memba_vision.errors import UserError
from memba_vision.files import exclusive_lock, unfinished_folder

MAKERS: dict[str, Callable[[], dict[str, Split]]] = {
    'digits': make_digits,
    'sprites_location': make_sprites_location,
    'sprites_orientation': make_sprites_orientation,
    'letters': make_letters,
    'street_digits': make_street_digits,
    'textures': make_textures,
    'cells': make_cells,
    'terrain': make_terrain,
    'counting': make_counting,
    'nearest_distance': make_nearest_distance,
    'orientation': make_orientation,
    'azimuth': make_azimuth,
}


def ensure_mini_vtab(root: str | Path) -> None:
    """Write every task of mini-VTAB under ``root`` that is not there yet.

    See :func:`ensure_task`.
    """
    for task in MINI_TASKS:
        ensure_task(root, task)


def ensure_task(root: str | Path, task: str) -> None:
    """Write one task of mini-VTAB under ``root``, unless its folder is there already.

    Of several processes that want the same task, one makes it and the others wait. The folder
    appears under its name only when it is whole: a kill on the way does no harm. The next that
    makes a task there removes what it left.

    Args:
        root: The data root; made when missing.
        task: A name of ``MINI_TASKS``.

    Raises:
        UserError: For an unknown task, a folder of that name without a list of test images, or
            a root that cannot be written.
    """
    folder = Path(root) / find_task(task, MINI_TASKS).folder
    if _is_whole(folder):
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder):
            if not _is_whole(folder):  # another process was quicker
                _make(folder, task)
    except OSError as error:
        raise UserError(f'cannot write the task {task!r} to {folder}: {error}') from error


def _make(folder: Path, task: str) -> None:
    with unfinished_folder(folder.parent) as unfinished:
        # A folder of its own inside, since the temporary one is closed to other users.
        whole = unfinished / folder.name
        _write_task(whole, MAKERS[task]())
        _move(whole, folder)


def _is_whole(folder: Path) -> bool:
    return (folder / 'test.txt').is_file()


def _move(whole: Path, folder: Path) -> None:
    try:
        os.rename(whole, folder)
    except OSError:
        if _is_whole(folder):
            return  # another process was quicker, and wrote the same
        if not folder.exists():
            raise
        raise UserError(f'{folder} holds something else than the task: move it away') from None


def _write_task(folder: Path, splits: dict[str, Split]) -> None:
    lines = {name: _write_images(folder, name, split) for name, split in splits.items()}
    lines['train800val200'] = lines['train800'] + lines['val200']
    for name, listed in lines.items():
        _write_list(folder / f'{name}.txt', listed)


def _write_images(folder: Path, name: str, split: Split) -> list[str]:
    # Returns the lines that list the images, paths relative to the task's folder.
    images = Path('images') / name
    (folder / images).mkdir(parents=True)
    lines = []
    for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        path = images / f'{number:05d}.png'
        _write_image(folder / path, image)
        lines.append(f'{path.as_posix()} {label}')
    return lines


def _write_image(path: Path, image: np.ndarray) -> None:
    Image.fromarray(image).save(path)


def _write_list(path: Path, lines: Iterable[str]) -> None:
    path.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
