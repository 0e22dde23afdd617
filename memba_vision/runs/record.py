"""Record of a run: a file in its folder with all that is needed to repeat it.

Readers of records need no torch: it is imported where a run is described.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.logging import print_log

from memba_vision.errors import UserError
from memba_vision.files import sha256_of, write_atomically
from memba_vision.runs.config_paths import absolute_paths

if TYPE_CHECKING:
    from mmengine.runner import Runner

RECORD_FILE = 'run.json'
POINTER_FILE = 'run_folder.txt'  # in a folder of checkpoints alone: where their run is
PACKAGES = (
    'memba_vision',
    'torch',
    'torchvision',
    'mmengine',
    'mmcv-lite',
    'mmpretrain',
    'numpy',
    'pillow',
    'safetensors',
    'numba',
    'mamba-ssm',
    'causal-conv1d',
)


def write_record(runner: Runner, command: list[str]) -> None:
    """Add this start of the run to the record in its folder, a list with an entry per start.

    Args:
        runner: with its data built.
        command: the command line.
    """
    path = Path(runner.work_dir, RECORD_FILE)
    starts = [*_earlier(path), describe(runner, command)]
    if _resumes(runner.cfg):
        origin = folder_of_run(Path(runner.cfg.load_from).parent)
        for line in changes(begun(_earlier(origin / RECORD_FILE) or starts), starts[-1]):
            print_log(f'Resumed, but {line}', 'current', logging.WARNING)
    text = json.dumps(starts, indent=1, default=str)
    write_atomically(path, f'{text}\n'.encode())


def describe(runner: Runner, command: list[str]) -> dict[str, Any]:
    """Config, command, versions, commit, seed, data and base weights of a run, ready for JSON.

    Paths are absolute, except in the command, which is as it was given.
    """
    from memba_vision.engine.plain_model import plain_model

    model = plain_model(runner)
    config = runner.cfg
    loaders = {'train': runner.train_dataloader}
    if runner.test_loop is not None:
        loaders['test'] = runner.test_dataloader
    return {
        'time': _now(),
        'command': command,
        'config_file': os.path.abspath(config.filename) if config.filename else None,
        'config': absolute_paths(config.to_dict()),
        'seed': runner.seed,
        'resumed_from': os.path.abspath(config.load_from) if _resumes(config) else None,
        'git': git_state(Path(__file__)),
        'versions': _versions(),
        'data': {name: _describe_data(loader.dataset) for name, loader in loaders.items()},
        'base_fingerprint': getattr(model.backbone, 'header', {}).get('base'),
        'finished': None,
    }


def record_end(folder: Path) -> None:
    """Record that the last start of a run came to the end of its training and of its test."""
    path = folder / RECORD_FILE
    if starts := _earlier(path):
        starts[-1]['finished'] = _now()
        write_atomically(path, f'{json.dumps(starts, indent=1)}\n'.encode())


def is_finished(folder: Path) -> bool | None:
    """Return True if the last start of a run came to its end.

    None without a record that says so, as of an older version.
    """
    starts = _earlier(folder / RECORD_FILE)
    known = bool(starts) and 'finished' in starts[-1]
    return starts[-1]['finished'] is not None if known else None


def last_start(folder: Path) -> str:
    """Return the time at which a run was started last, in ISO format; '' if it is not known."""
    starts = _earlier(folder / RECORD_FILE)
    return str(starts[-1].get('time', '')) if starts else ''


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def _resumes(config: Config) -> bool:
    return bool(config.get('resume') and config.get('load_from'))


def begun(starts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the start that a run began with; a folder may hold the record of earlier runs too."""
    return next((s for s in reversed(starts) if not s.get('resumed_from')), starts[0])


def changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line for each part of the data, and for the base weights, that is not what it was.

    Args:
        before: an earlier start of the run, from :func:`describe`.
        now: this start.
    """
    lines = []
    for part, facts in now['data'].items():
        earlier = (before.get('data') or {}).get(part, facts)
        differing = sorted(key for key in facts if facts[key] != earlier.get(key, facts[key]))
        if differing:
            place = facts.get('folder', f'{part}_dataloader')
            lines.append(
                f'the {part} data in {place} are not those that it began with '
                f'({", ".join(differing)} differ)'
            )
    base = before.get('base_fingerprint', now['base_fingerprint'])
    if base != now['base_fingerprint']:
        lines.append('the base weights are not those that it began with')
    return lines


def read_config(folder: Path) -> Config:
    """Return the config of a run's last start, from its record.

    Args:
        folder: of the run, or the one where its checkpoints lie.

    Raises:
        UserError: there is no record, or it cannot be read.
    """
    path = folder_of_run(folder) / RECORD_FILE
    if not path.is_file():
        raise UserError(f'there is no {path.absolute()}: give the config with --config')
    starts = _earlier(path)
    if not starts:
        raise UserError(f'{path} cannot be read: give the config with --config')
    return Config(starts[-1]['config'])


def folder_of_run(folder: Path) -> Path:
    """Return the folder of the run whose checkpoints lie in ``folder``; mostly it is the same."""
    pointer = folder / POINTER_FILE
    if (folder / RECORD_FILE).is_file() or not pointer.is_file():
        return folder
    return Path(os.fsdecode(pointer.read_bytes().strip(b'\n')))


def has_record(folder: Path) -> bool:
    """Return True for the folder, or folder of checkpoints, of a run that has a record."""
    return (folder_of_run(folder) / RECORD_FILE).is_file()


def point_to_run(folder: Path, work_dir: Path) -> None:
    """Record in a folder of checkpoints the folder of their run."""
    write_atomically(folder / POINTER_FILE, os.fsencode(work_dir) + b'\n')


def git_state(file: Path) -> dict[str, Any] | None:
    """Return the commit of the checkout of ``file``, and True if its files differ from it.

    None where git does not know the file, as in an installed package.
    """
    folder = file.parent
    commit = _git(folder, 'rev-parse', 'HEAD')
    if commit is None or _git(folder, 'ls-files', '--error-unmatch', file.name) is None:
        return None
    return {'commit': commit, 'changed': bool(_git(folder, 'status', '--porcelain', '-uno'))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(
            ['git', *arguments], cwd=folder, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def _versions() -> dict[str, str | None]:
    import torch

    found = {'python': platform.python_version(), 'platform': platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    found['gpu'] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return found


def _describe_data(dataset: Any) -> dict[str, Any]:
    from memba_vision.datasets.vtab1k_tools.manifest import manifest_hash
    from memba_vision.datasets.wrapped_data import inner_datasets

    facts = {'type': type(dataset).__name__, 'images': len(dataset)}
    first, *others = inner_datasets(dataset)
    if others:
        return facts | {'datasets': [_describe_data(inner) for inner in (first, *others)]}
    task = getattr(first, 'task', None)
    if task is not None:
        folder = Path(first.data_root, task.folder)
        facts |= {
            'folder': str(folder.resolve()),
            'list_sha256': sha256_of(folder / f'{first.split}.txt'),
            'manifest_sha256': manifest_hash(folder),
        }
    return facts


def _earlier(path: Path) -> list[dict[str, Any]]:
    # A damaged record must not keep a run from going on.
    try:
        starts = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return []
    usable = isinstance(starts, list) and all(
        isinstance(start, dict) and isinstance(start.get('config'), dict) for start in starts
    )
    return starts if usable else []


def command_line() -> list[str]:
    """Return this process's command line."""
    return [sys.executable, *sys.argv]
