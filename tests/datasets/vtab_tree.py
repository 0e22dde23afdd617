"""A tree of all 19 tasks with a few tiny images each, and the sizes to expect of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from memba_vision.datasets.tasks import VTAB1K_TASKS, Task

SIZES = {'train800': 4, 'val200': 2, 'test': 3}
SPLIT_SIZES = {'train800val200': 6, 'train800': 4, 'val200': 2}
TASKS = [replace(task, num_test=SIZES['test']) for task in VTAB1K_TASKS.values()]


def make_tree(root: Path) -> Path:
    for number, task in enumerate(TASKS):
        _make_task(root / task.folder, task, np.random.default_rng(number))
    return root


def _make_task(folder: Path, task: Task, rng: np.random.Generator) -> None:
    lines = {}
    for split, count in SIZES.items():
        (folder / 'images' / split).mkdir(parents=True)
        lines[split] = []
        for number in range(count):
            path = f'images/{split}/{number:06d}.png'
            Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8)).save(folder / path)
            lines[split].append(f'{path} {number * (task.num_classes - 1) // (count - 1)}\n')
    lines['train800val200'] = lines['train800'] + lines['val200']
    for split, listed in lines.items():
        (folder / f'{split}.txt').write_text(''.join(listed))
