"""The runs of a sweep: configs x methods x seeds."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.runs.backbone import Backbone, backbone_of
from memba_vision.runs.config import load_config, method_name, set_seed_and_precision
from memba_vision.runs.presets import preset_names
from memba_vision.runs.result_files import recorded_backbone
from memba_vision.runs.tool_options import parse_options
from memba_vision.shipped import shipped_folder

TRAIN = shipped_folder() / 'tools' / 'train.py'
ALL_METHODS = 'all'
SWEEP_FILE = 'sweep.json'

#: Task, architecture, method and seed.
Identity = tuple[str, str, str, int]


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
        name: ``<task>_<method>_seed<k>``, with the backbone in it where the sweep has several; also
            the name of its folder.
        folder: where its log, checkpoints and result go.
        config: the config file.
        method: the method, as in tables of results.
        task: the task.
        seed: the seed.
        backbone: the backbone that is adapted, whose weights are not read yet.
        resolved: the whole config of the run, with its seed.
        arguments: of tools/train.py, without those that depend on the machine.
    """

    name: str
    folder: Path
    config: str
    method: str
    task: str
    seed: int
    backbone: Backbone
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
        record = {key: getattr(self, key) for key in ('name', 'config', 'method', 'task', 'seed')}
        return {**record, 'backbone': asdict(self.backbone)}

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
    pairs = list(product(configs, methods or [None]))
    wanted = [(_resolve(*pair, seed, options), *pair) for seed in seeds for pair in pairs]
    names = _names([_identity(config) for config, *_ in wanted], folder)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f'two runs would be called {twice[0]}: give each config and method once, and other '
            'weights of the same architecture in a sweep with another --work-dir'
        )
    return [_make_job(*run, folder, name, options) for run, name in zip(wanted, names, strict=True)]


def _resolve(path: str, method: str | None, seed: int, options: Options) -> Config:
    """Read the whole config of a run.

    Raises:
        UserError: it has no result that could be compared.
    """
    config = load_config(path, options.parsed(), None, peft=method)
    set_seed_and_precision(config, seed, options.amp)
    if config.get('task') is None or config.get('test_dataloader') is None:
        lacks = 'names no task' if config.get('task') is None else 'has no test_dataloader'
        raise UserError(f'{path} {lacks}, so there is no accuracy to compare')
    return config


def _identity(config: Config) -> Identity:
    return config.task, backbone_of(config).arch, method_name(config), config.randomness.seed


def _names(runs: Sequence[Identity], folder: Path) -> list[str]:
    """Names of runs: those that the sweep's folder lists already keep theirs."""
    listed = _listed(Path(folder))
    several = len({arch for _, arch, *_ in [*runs, *listed]}) > 1
    return [listed.get(run) or _name(*run, several) for run in runs]


def _name(task: str, arch: str, method: str, seed: int, with_arch: bool) -> str:
    return f'{task}_{f"{arch}_" if with_arch else ""}{method}_seed{seed}'


def _listed(folder: Path) -> dict[Identity, str]:
    """Names of the runs of a sweep whose backbones are known; a damaged list is told later."""
    try:
        runs = json.loads((folder / SWEEP_FILE).read_text(encoding='utf-8'))['runs']
        return {
            (run['task'], arch, run['method'], run['seed']): run['name']
            for run in runs
            if (arch := _listed_backbone(run, folder).arch) is not None
        }
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _listed_backbone(run: dict[str, Any], folder: Path) -> Backbone:
    if 'backbone' in run:
        return Backbone(**run['backbone'])
    return recorded_backbone(folder / run['name'])


def _make_job(
    config: Config, path: str, method: str | None, folder: Path, name: str, options: Options
) -> Job:
    task, _, method_of_table, seed = _identity(config)
    own_folder = Path(folder).absolute() / name
    arguments = [str(Path(config.filename).absolute()), '--work-dir', str(own_folder)]
    arguments += ['--resume', 'auto', '--seed', str(seed), *(['--amp'] if options.amp else [])]
    if method:
        is_file = method.endswith('.py')
        arguments += ['--peft', str(Path(method).absolute()) if is_file else method]
    if options.cfg_options:
        arguments += ['--cfg-options', *options.cfg_options]
    return Job(
        name=name,
        folder=own_folder,
        config=path,
        method=method_of_table,
        task=task,
        seed=seed,
        backbone=backbone_of(config),
        resolved=config,
        arguments=tuple(arguments),
    )
