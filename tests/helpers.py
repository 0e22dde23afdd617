"""What several tests share: data in VTAB-1k's format, and the tools as a user calls them."""

import contextlib
import importlib.util
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from mmengine.utils import ManagerMixin
from PIL import Image

import memba_vision
from memba_vision.command_line import run_tool as run_main
from memba_vision.datasets.tasks import find_task
from memba_vision.package_data import package_data_folder

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
#: What other processes find the package by: a checkout, or the folder it is installed in.
IMPORT_ROOT = Path(memba_vision.__file__).parents[1]
CONFIGS = package_data_folder() / 'configs'
TOOLS = package_data_folder() / 'tools'
DEMO = CONFIGS / 'demo' / 'digits_memba.py'

#: Of a process that runs a tool with the hooks of tests.
ENVIRONMENT = {
    **os.environ,
    'OMP_NUM_THREADS': '1',
    'PYTHONPATH': os.pathsep.join(map(str, (IMPORT_ROOT, TESTS))),
}

#: Text of a config that validates on test images, to be formatted with their ``data_root``.
VALIDATION = """
val_dataloader = dict(
    dataset=dict(type='VTAB1k', split='test', task='digits', data_root={data_root!r},
                 pipeline={{{{_base_.test_dataloader.dataset.pipeline}}}}),
    sampler=dict(type='DefaultSampler', shuffle=False), batch_size=20, num_workers=0)
val_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1,))
"""

needs_checkout = pytest.mark.skipif(
    not (REPOSITORY / 'setup.py').is_file(),
    reason='is about the repository, and these tests lie beside no checkout',
)


#: Saves more often than short runs do by themselves.
EACH_EPOCH = {'default_hooks.checkpoint.interval': 1}


def make_task(root: Path, name: str, train: int = 4, val: int = 2, test: int = 3) -> Path:
    """Write a task of VTAB-1k or mini-VTAB with a few small images; a class has its brightness."""
    task = find_task(name)
    folder = root / task.folder
    rng = np.random.default_rng(0)
    lines = {}
    for split, count in {'train800': train, 'val200': val, 'test': test}.items():
        (folder / 'images' / split).mkdir(parents=True)
        lines[split] = []
        for number in range(count):
            label = number % task.num_classes
            noise = rng.integers(0, 40, (12, 12, 3))
            image = Image.fromarray((noise + label * 200 // task.num_classes).astype(np.uint8))
            path = f'images/{split}/{number:03d}.{"jpg" if number % 2 else "png"}'
            image.save(folder / path)
            lines[split].append(f'{path} {label}\n')
    lines['train800val200'] = lines['train800'] + lines['val200']
    for split, listed in lines.items():
        (folder / f'{split}.txt').write_text(''.join(listed))
    return folder


def tiny_options(base: Path, data_root: Path, **options) -> dict:
    """``--cfg-options`` that shrink a demo config to seconds: 4 steps of 8 images an epoch."""
    return {
        'model.backbone.module.init_cfg.checkpoint': str(base),
        'model.backbone.module.arch.embed_dims': 16,
        'model.backbone.module.arch.num_layers': 2,
        'model.neck.input_features': 16,
        'model.head.in_channels': 16,
        'model.backbone.rank': 2,
        'train_dataloader.batch_size': 8,
        'train_dataloader.dataset.data_root': str(data_root),
        'test_dataloader.dataset.data_root': str(data_root),
        'param_scheduler.0.end': 1,
        'param_scheduler.1.begin': 1,
        'train_cfg.max_epochs': 2,
        **options,
    }


def as_arguments(options: dict) -> list[str]:
    """Options as the command line spells them."""
    return ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]


def config_with_hook(path: Path, hook: str, **settings) -> Path:
    path.write_text(
        f'_base_ = {str(DEMO)!r}\n'
        "custom_imports = dict(imports=['memba_vision', 'run_hooks'])\n"
        f'custom_hooks = [{dict(type=hook, **settings)!r}]\n'
    )
    return path


def command(tool: str, config: Path, work_dir: Path, options: dict, *arguments: str) -> list:
    tool = TOOLS / f'{tool}.py'
    common = ['--work-dir', str(work_dir), *as_arguments(options)]
    return [sys.executable, str(tool), str(config), *arguments, *common]


@dataclass
class Outcome:
    """How a tool ended."""

    status: int
    out: str
    err: str

    def error(self, status: int = 2) -> str:
        """The one line that a user's mistake ends in."""
        line = self.err.strip().splitlines()[-1]
        assert self.status == status, self
        assert line.startswith('error: '), self
        assert 'Traceback' not in self.err + self.out, self
        return line


def run_tool(name: str, *arguments: object) -> Outcome:
    """Run ``tools/<name>.py`` in this process; an unexpected exception comes out as it is."""
    forget_runs()
    path = TOOLS / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'tool_{name}', path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, 'argv', [str(path), *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run_main(tool.parse_arguments, tool.main)
        except SystemExit as end:
            status = end.code
    return Outcome(status, out.getvalue(), err.getvalue())


def forget_runs() -> None:
    """Drop mmengine's loggers and message hubs, which it keeps by the second of their start."""
    for manager in _subclasses(ManagerMixin):
        manager._instance_dict.clear()


def _subclasses(cls: type) -> list[type]:
    return [c for child in cls.__subclasses__() for c in (child, *_subclasses(child))]
