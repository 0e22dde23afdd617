"""Folders and names of the checkpoints that mmengine's hook writes."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from memba_vision.errors import UserError
from memba_vision.registry import HOOKS
from memba_vision.weights import read_checkpoint

USUAL = ('epoch_{}.pth', 'iter_{}.pth')
BEST = 'best_.+_'  # the prefix that ``save_best`` puts before the name


@dataclass(frozen=True)
class CheckpointFolder:
    """Folder of checkpoints, and the template of their names.

    Attributes:
        folder: the folder.
        template: the name, with ``{}`` for the epoch or the step.
    """

    folder: Path
    template: str

    def checkpoints(self, before: str = '') -> list[tuple[int, Path]]:
        """Return the number in the name and the path of each checkpoint, the highest first.

        Args:
            before: a pattern of the prefix of the name.
        """
        pattern = re.compile(before + _pattern(self.template))
        paths = self.folder.iterdir() if self.folder.is_dir() else ()
        found = [(pattern.fullmatch(path.name), path) for path in paths]
        numbered = [
            (int(match[1]) if pattern.groups else 0, path)
            for match, path in found
            if match and path.is_file()
        ]
        return sorted(numbered, reverse=True)


def checkpoint_folders(
    config: Config, work_dir: str | Path | None = None
) -> list[CheckpointFolder]:
    """Return the folders of a run's checkpoints: the one of its config, and the usual one.

    Args:
        config: of the run.
        work_dir: the run's folder; None for that of the config.
    """
    work_dir = os.path.abspath(config.work_dir if work_dir is None else work_dir)
    found = [
        CheckpointFolder(_folder(hook.get('out_dir'), work_dir), template)
        for hook in _settings_of_hooks(config)
        for template in ([hook['filename_tmpl']] if hook.get('filename_tmpl') else USUAL)
    ]
    return list(
        dict.fromkeys([*found, *(CheckpointFolder(Path(work_dir), name) for name in USUAL)])
    )


def checkpoint_hooks(runner: Runner) -> list[CheckpointHook]:
    """Return the hooks that save checkpoints."""
    return [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]


def last_checkpoint(runner: Runner) -> Path | None:
    """Return the checkpoint that a training ended with.

    It is the one of most steps that was saved; where nothing was, the one that the run resumed
    from; else a best one of ``save_best``. None where there is no such file on this machine.
    """
    hooks = checkpoint_hooks(runner)
    saved = [Path(str(hook.last_ckpt)) for hook in hooks if hook.last_ckpt]
    if len(saved) > 1:
        saved.sort(key=steps_made, reverse=True)
    went_on_from = [runner._load_from] if runner._resume and runner._load_from else []
    others = [*went_on_from, *(path for hook in hooks for path in _best(hook))]
    found = [path for path in [*saved, *map(Path, others)] if path.expanduser().is_file()]
    return found[0].expanduser().absolute() if found else None


def steps_made(path: Path) -> int:
    """Return the number of steps that a checkpoint says were made; -1 if it cannot be read."""
    try:
        return int(read_checkpoint(str(path))['meta']['iter'])
    except (UserError, LookupError, TypeError, ValueError):
        return -1


def best_checkpoint(runner: Runner) -> Path | None:
    """Return the best checkpoint by the validation of a training, or the one that it ended with."""
    found = [Path(path).expanduser() for hook in checkpoint_hooks(runner) for path in _best(hook)]
    return next((p.absolute() for p in found if p.is_file()), None) or last_checkpoint(runner)


def _best(hook: CheckpointHook) -> list[str]:
    found = [getattr(hook, 'best_ckpt_path', None)]
    found += getattr(hook, 'best_ckpt_path_dict', {}).values()
    return [str(path) for path in found if path]


def _settings_of_hooks(config: Config) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of hooks that put checkpoints elsewhere, or under other names."""
    default, custom = config.get('default_hooks') or {}, config.get('custom_hooks') or []
    for hook in [*default.values(), *custom]:
        if not isinstance(hook, Mapping) or not {'out_dir', 'filename_tmpl'} & hook.keys():
            continue
        kind = HOOKS.get(hook['type']) if isinstance(hook.get('type'), str) else hook.get('type')
        is_one = isinstance(kind, type) and issubclass(kind, CheckpointHook)
        if is_one and not is_remote(hook.get('out_dir')):
            yield hook


def is_remote(folder: str | Path | None) -> bool:
    """Return True if a hook's ``out_dir`` is no folder of files, as 's3://bucket'."""
    return '://' in str(folder)


def _folder(out_dir: str | Path | None, work_dir: str) -> Path:
    """Return the folder that the hook makes of its ``out_dir``."""
    if out_dir is None or str(out_dir) == work_dir:
        return Path(work_dir)
    return Path(os.path.abspath(out_dir), os.path.basename(work_dir))


def _pattern(template: str) -> str:
    """Return a pattern for the names that ``template`` makes; its group is the number in them."""
    parts = Formatter().parse(template)
    return ''.join(
        re.escape(text) + ('' if field is None else r'(\d+)') for text, field, *_ in parts
    )
