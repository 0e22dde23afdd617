"""The tasks: one table that datasets, configs, reports and checks all read."""

import difflib
from dataclasses import dataclass

from memba_vision.errors import UserError


@dataclass(frozen=True)
class Task:
    """One classification task in VTAB-1k's folder format.

    Args:
        name: The name in configs and on the command line.
        folder: The task's folder under the data root.
        num_classes: Number of classes; labels are ``0 .. num_classes - 1``.
        num_test: Number of images that ``test.txt`` lists.
        group: The group whose mean accuracy a report gives.
        meaning: Subject of the labels, where the name does not say it.
    """

    name: str
    folder: str
    num_classes: int
    num_test: int
    group: str
    meaning: str = ''


#: Training images of a task of VTAB-1k, by split; mini-VTAB's tasks have as many.
SPLIT_SIZES = {'train800val200': 1000, 'train800': 800, 'val200': 200}
#: The group of tasks that are in no benchmark.
OWN_DATA = 'Own data'


def _by_name(*tasks: Task) -> dict[str, Task]:
    return {task.name: task for task in tasks}


VTAB1K_TASKS: dict[str, Task] = _by_name(
    Task('cifar100', 'cifar', 100, 10_000, 'Natural'),
    Task('caltech101', 'caltech101', 102, 6_084, 'Natural'),
    Task('dtd', 'dtd', 47, 1_880, 'Natural'),
    Task('flowers102', 'oxford_flowers102', 102, 6_149, 'Natural'),
    Task('pets', 'oxford_iiit_pet', 37, 3_669, 'Natural'),
    Task('svhn', 'svhn', 10, 26_032, 'Natural'),
    Task('sun397', 'sun397', 397, 21_750, 'Natural'),
    Task('camelyon', 'patch_camelyon', 2, 32_768, 'Specialized'),
    Task('eurosat', 'eurosat', 10, 5_400, 'Specialized'),
    Task('resisc45', 'resisc45', 45, 6_300, 'Specialized'),
    Task('retinopathy', 'diabetic_retinopathy', 5, 42_670, 'Specialized'),
    Task('clevr_count', 'clevr_count', 8, 15_000, 'Structured'),
    Task('clevr_distance', 'clevr_dist', 6, 15_000, 'Structured'),
    Task('dmlab', 'dmlab', 6, 22_735, 'Structured'),
    Task('kitti', 'kitti', 4, 711, 'Structured'),
    Task('dsprites_location', 'dsprites_loc', 16, 73_728, 'Structured'),
    Task('dsprites_orientation', 'dsprites_ori', 16, 73_728, 'Structured'),
    Task('smallnorb_azimuth', 'smallnorb_azi', 18, 12_150, 'Structured'),
    Task('smallnorb_elevation', 'smallnorb_ele', 9, 12_150, 'Structured'),
)

#: The first mini-VTAB.
MINI1_TASKS: dict[str, Task] = _by_name(
    Task('digits', 'digits', 10, 797, 'Mini'),
    Task('sprites_location', 'sprites_location', 16, 2_000, 'Mini'),
    Task('sprites_orientation', 'sprites_orientation', 16, 2_000, 'Mini'),
)
MINI2_TASKS: dict[str, Task] = _by_name(
    Task('letters', 'letters', 26, 1_040, 'Natural', 'the letter, in unseen fonts'),
    Task('street_digits', 'street_digits', 10, 797, 'Natural', 'the digit in the middle'),
    Task('textures', 'textures', 16, 1_008, 'Natural', 'the kind of surface'),
    Task('cells', 'cells', 4, 1_000, 'Specialized', 'number and shape of the nuclei in the middle'),
    Task('terrain', 'terrain', 10, 1_000, 'Specialized', 'the kind of land, seen from above'),
    Task('counting', 'counting', 8, 1_000, 'Structured', 'the number of things'),
    Task('nearest_distance', 'nearest_distance', 6, 1_002, 'Structured', 'distance of the nearest'),
    Task('orientation', 'orientation', 16, 1_008, 'Structured', 'direction of the shape'),
    Task('azimuth', 'azimuth', 12, 1_008, 'Structured', 'direction that the solid faces'),
)
#: The tasks of both, which are made on first use.
MINI_TASKS = MINI1_TASKS | MINI2_TASKS


def find_task(name: str, tasks: dict[str, Task] | None = None) -> Task:
    """Return the task called ``name``.

    Args:
        name: A name of ``tasks``.
        tasks: The tasks to search; ``None`` stands for those of VTAB-1k and of mini-VTAB.

    Raises:
        UserError: For an unknown name; the message suggests the closest and lists the known.
    """
    tasks = VTAB1K_TASKS | MINI_TASKS if tasks is None else tasks
    if name in tasks:
        return tasks[name]
    closest = difflib.get_close_matches(str(name), tasks, n=1)
    hint = f'did you mean {closest[0]!r}? ' if closest else ''
    raise UserError(f'unknown task {name!r}: {hint}The known tasks are {", ".join(tasks)}')


def num_classes(name: str) -> int:
    """Return the number of classes of the task ``name``, for a config's head."""
    return find_task(name).num_classes
