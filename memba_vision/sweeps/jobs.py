"""The runs of a sweep: configs x methods x seeds."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from memba_vision.apis.config import load_config, method_name, set_seed_and_precision
from memba_vision.apis.config_paths import absolute_paths
from memba_vision.apis.presets import preset_names
from memba_vision.apis.tool_options import parse_options
from memba_vision.errors import UserError
from memba_vision.shipped import shipped_folder

TRAIN = shipped_folder() / 'tools' / 'train.py'
#: What differs from start to start of one run, or from machine to machine.
PASSING = (
    *('work_dir', 'resume', 'load_from', 'launcher', 'model_wrapper_cfg'),
    'renamed_classes',
)
WITHOUT_EFFECT = '.persistent_workers'  # on what comes out
ALL_METHODS = 'all'


@dataclass(frozen=True)
class Options:
    """What holds for every run of a sweep.

    Attributes:
        cfg_options: settings as the command line spells them, ``KEY=VALUE``.
        amp: train under bfloat16 autocast.
    """

    cfg_options: tuple[str, ...] = ()
    amp: bool = False

    def parsed(self) -> dict[str, Any]:
        """The settings by key.

        Raises:
            UserError: one of them is not ``KEY=VALUE``.
        """
        return parse_options(self.cfg_options)


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: ``<task>_<method>_seed<k>``, also the name of its folder.
        folder: where its log, checkpoints and result go.
        config: the config file.
        method: the method, as in tables of results.
        task: the task.
        seed: the seed.
        resolved: the whole config of the run, with its seed.
        arguments: of tools/train.py, without those that depend on the machine.
    """

    name: str
    folder: Path
    config: str
    method: str
    task: str
    seed: int
    resolved: Config = field(repr=False, compare=False)
    arguments: tuple[str, ...] = field(repr=False)

    def command(self, processes: int = 1) -> list[str]:
        """The command line that trains; with several processes, through torch's launcher."""
        python = [sys.executable]
        launcher = []
        if processes > 1:
            python += ['-m', 'torch.distributed.run', '--standalone']
            python += ['--nproc_per_node', str(processes)]
            launcher = ['--launcher', 'pytorch']
        return [*python, str(TRAIN), *self.arguments, *launcher]

    def record(self) -> dict[str, Any]:
        """The run as sweep.json lists it."""
        return {key: getattr(self, key) for key in ('name', 'config', 'method', 'task', 'seed')}

    def length(self) -> tuple[str, int]:
        """What the training counts, 'epochs' or 'iterations', and how many of them it takes."""
        loop = self.resolved.get('train_cfg') or {}
        epochs = loop.get('max_epochs')
        return ('epochs', epochs) if epochs else ('iterations', loop.get('max_iters', 0))


def make_jobs(
    configs: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    options: Options,
) -> list[Job]:
    """All runs of a sweep, one seed after the other: each gives a whole table.

    Args:
        configs: config files.
        methods: presets that take the place of the configs' methods; none: those stay; 'all'
            alone: every preset there is.
        seeds: the seeds.
        folder: the sweep's folder.
        options: what holds for every run.

    Raises:
        UserError: a config cannot be read or names no task, an option does not fit, or two runs
            would have the same name.
    """
    if list(methods) == [ALL_METHODS]:
        methods = preset_names()
    pairs = [(config, method) for config in configs for method in (methods or [None])]
    jobs = [_make_job(*pair, seed, folder, options) for seed in seeds for pair in pairs]
    twice = [name for name, count in Counter(job.name for job in jobs).items() if count > 1]
    if twice:
        raise UserError(f'two runs would be called {twice[0]}: give each config and method once')
    return jobs


def _make_job(path: str, method: str | None, seed: int, folder: Path, options: Options) -> Job:
    config = load_config(path, options.parsed(), None, peft=method)
    set_seed_and_precision(config, seed, options.amp)
    task = config.get('task')
    if task is None or config.get('test_dataloader') is None:
        lacks = 'names no task' if task is None else 'has no test_dataloader'
        raise UserError(f'{path} {lacks}, so there is no accuracy to compare')
    name = f'{task}_{method_name(config)}_seed{seed}'
    own_folder = Path(folder).absolute() / name
    arguments = [str(Path(config.filename).absolute()), '--work-dir', str(own_folder)]
    arguments += ['--resume', 'auto', '--seed', str(seed), *(['--amp'] if options.amp else [])]
    if method:
        is_file = method.endswith('.py')
        arguments += ['--peft', str(Path(method).absolute()) if is_file else method]
    if options.cfg_options:
        arguments += ['--cfg-options', *options.cfg_options]
    return Job(name, own_folder, path, method_name(config), task, seed, config, tuple(arguments))


def settings(config: dict[str, Any]) -> dict[str, Any]:
    """All settings of a run by dotted key, without those that differ from start to start."""
    kept = {key: value for key, value in absolute_paths(config).items() if key not in PASSING}
    if not (kept.get('auto_scale_lr') or {}).get('enable'):
        kept.pop('auto_scale_lr', None)
    flat: dict[str, Any] = {}
    _flatten(json.loads(json.dumps(kept, default=str)), '', flat)
    return {key: value for key, value in flat.items() if not key.endswith(WITHOUT_EFFECT)}


def _flatten(value: Any, key: str, into: dict[str, Any]) -> None:
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in parts:
        name = f'{key}.{name}' if key else str(name)
        if isinstance(part, dict | list):
            _flatten(part, name, into)
        else:
            into[name] = part


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A line for each setting that is not what it was."""
    missing = object()
    lines = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key, missing), now.get(key, missing)
        if old != new:
            old, new = ('not set' if value is missing else repr(value) for value in (old, new))
            lines.append(f'{key} was {old}, is {new}')
    return lines
