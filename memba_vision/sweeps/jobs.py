"""Runs of a sweep: configs x methods x seeds."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import asdict, dataclass, field
from itertools import compress, product, starmap
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mmengine.config import Config, ConfigDict

from memba_vision.errors import UserError
from memba_vision.package_data import find_config, package_data_folder
from memba_vision.reports.collect import SWEEP_FILE
from memba_vision.runs.backbone import Backbone, backbone_of
from memba_vision.runs.config import load_config, method_name, set_seed_and_precision
from memba_vision.runs.known_settings import OPTIONS_OF_TRIALS, reason_decided
from memba_vision.runs.method_names import spelled_as_preset
from memba_vision.runs.presets import preset_names, read_config
from memba_vision.runs.result import RESULT_FILE
from memba_vision.runs.result_files import recorded_backbone
from memba_vision.runs.tool_options import parse_options
from memba_vision.runs.trial import Trial
from memba_vision.sweeps.applicable import can_adapt
from memba_vision.sweeps.grid import Point, check_grid, points_for

TRAIN = package_data_folder() / 'tools' / 'train.py'
ALL_METHODS = 'all'
#: Settings that a sweep decides for each of its runs, with the options that tell it how.
SWEEP_OPTIONS = {
    **OPTIONS_OF_TRIALS,
    'peft': '--methods',
    'backbone': '--backbones',
    'launcher': '--gpus-per-run',
    'randomness.seed': '--seeds',
}

#: Task, architecture, method and seed.
Identity = tuple[str, str, str, int]


class Variant(NamedTuple):
    """A config, and the parts of it that are replaced.

    Attributes:
        config: the config file.
        backbone: as ``--backbone`` of tools/train.py.
        method: as its ``--peft``.
        point: as its ``--try``.
    """

    config: str
    backbone: str | None
    method: str | None
    point: Point = {}

    def arguments(self) -> list[str]:
        """Return the options of tools/train.py that replace the parts."""
        chosen = {'--backbone': self.backbone, '--peft': self.method}
        parts = [
            part
            for option, name in chosen.items()
            if name
            for part in (option, str(Path(name).absolute()) if name.endswith('.py') else name)
        ]
        tried = [f'{key}={value}' for key, value in self.point.items()]
        return parts + (['--try', *tried] if tried else [])


@dataclass(frozen=True)
class Options:
    """Settings of every run of a sweep.

    Attributes:
        cfg_options: settings as the command line spells them, ``KEY=VALUE``.
        amp: train under bfloat16 autocast.
        validate: train on ``train800``, and measure on ``val200`` in place of the test.
    """

    cfg_options: tuple[str, ...] = ()
    amp: bool = False
    validate: bool = False

    def parsed(self) -> dict[str, Any]:
        """Return the settings by key.

        Raises:
            UserError: one of them is not ``KEY=VALUE``.
        """
        return parse_options(self.cfg_options)


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: ``<task>_<method>_seed<k>``, with the backbone if the sweep has several. It is also
            the name of the folder. Settings that it tries are part of the method's name.
        folder: place of its log, checkpoints and result.
        config: the config file.
        method: the method, as tables of results name it.
        task: the task.
        seed: the seed.
        backbone: the adapted backbone, before its weights are read.
        resolved: the whole config of the run, with its seed.
        arguments: arguments of tools/train.py that do not depend on the machine.
        settings: settings that it tries, of the sweep's grid.
        result_file: the file that it leaves.
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
    settings: dict[str, Any] = field(default_factory=dict, compare=False)
    result_file: ClassVar[str] = RESULT_FILE

    def command(self, processes: int = 1) -> list[str]:
        """Return the command line that trains, with a launcher for several processes."""
        python = [sys.executable]
        launcher = []
        if processes > 1:
            python += ['-m', 'memba_vision.sweeps.launch', '--standalone']
            python += ['--nproc_per_node', str(processes)]
            launcher = ['--launcher', 'pytorch']
        return [*python, str(TRAIN), *self.arguments, *launcher]

    def record(self) -> dict[str, Any]:
        """Return the run as sweep.json lists it."""
        record = {key: getattr(self, key) for key in ('name', 'config', 'method', 'task', 'seed')}
        tried = {'settings': self.settings} if self.settings else {}
        return {**record, 'backbone': asdict(self.backbone), **tried}

    def length(self) -> tuple[str, int]:
        """Return the unit of the training's length, 'epochs' or 'iterations', and their number."""
        loop = self.resolved.get('train_cfg') or {}
        epochs = loop.get('max_epochs')
        return ('epochs', epochs) if epochs else ('iterations', loop.get('max_iters', 0))


def make_jobs(
    configs: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
    options: Options,
    backbones: Sequence[str] = (),
    grid: Sequence[Point] = ({},),
) -> list[Job]:
    """Return all runs of a sweep, ordered by seed, so that each seed completes a table.

    Args:
        configs: config files.
        methods: presets in place of the configs' methods. An empty list keeps those; 'all' alone
            stands for every preset that the backbone can take.
        seeds: the seeds.
        folder: the sweep's folder.
        options: settings of every run.
        backbones: shipped models in place of the configs' backbones; an empty list keeps those.
        grid: settings that every method is to try, as :func:`memba_vision.sweeps.grid.read_grid`
            returns them.

    Raises:
        UserError: a config cannot be read or names no task, an option does not fit, or two runs
            would have the same name.
    """
    every = list(methods) == [ALL_METHODS]
    if every:
        methods = preset_names()
    variants = list(starmap(Variant, product(configs, backbones or [None], methods or [None])))
    parsed = {path: read_config(find_config(path)) for path in configs}
    for key in (*options.parsed(), *grid[0]):
        if problem := reason_decided(key, SWEEP_OPTIONS):
            raise UserError(f'{"--grid" if key in grid[0] else "--cfg-options"}: {problem}')
    if every:  # by its own settings: where those of the command line do not fit, the run says so
        untouched = [_resolve(parsed[variant.config], variant, Options()) for variant in variants]
        variants = list(compress(variants, can_adapt(untouched)))
    resolved = [_resolve(parsed[variant.config], variant, options) for variant in variants]
    if grid[0]:
        check_grid(grid, resolved, options.parsed())
        variants = [
            variant._replace(point=point)
            for config, variant in zip(resolved, variants, strict=True)
            for point in points_for(config, grid)
        ]
        resolved = [_resolve(parsed[variant.config], variant, options) for variant in variants]
    wanted = [
        (_with_seed(config, seed), variant)
        for seed in seeds
        for config, variant in zip(resolved, variants, strict=True)
    ]
    names = _names([_identity(config) for config, _ in wanted], folder)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f'two runs would be called {twice[0]}: give each config and method once, and other '
            'weights of the same architecture in a sweep with another --work-dir'
        )
    return [_make_job(*run, folder, name, options) for run, name in zip(wanted, names, strict=True)]


def left_out(jobs: Sequence[Job]) -> list[str]:
    """Return the presets that none of the runs of a sweep with 'all' methods has."""
    present = {job.resolved.peft for job in jobs}
    return [name for name in preset_names() if name not in present]


def _resolve(parsed: Config, variant: Variant, options: Options) -> Config:
    """Return the whole config of some runs but for their seeds.

    Raises:
        UserError: it has no result that could be compared.
    """
    chosen = dict(peft=variant.method, backbone=variant.backbone)
    chosen['trial'] = Trial(variant.point, options.validate)
    config = load_config(deepcopy(parsed), options.parsed(), None, **chosen)
    set_seed_and_precision(config, None, options.amp)
    if config.get('task') is None or config.get('test_dataloader') is None:
        lacks = 'names no task' if config.get('task') is None else 'has no test_dataloader'
        raise UserError(f'{variant.config} {lacks}, so there is no accuracy to compare')
    return config


def _with_seed(config: Config, seed: int) -> Config:
    config = copy(config)  # the runs of all seeds share the rest
    config.randomness = {**config.get('randomness', {}), 'seed': seed}
    return config


def _identity(config: Config) -> Identity:
    return config.task, backbone_of(config).arch, method_name(config), config.randomness.seed


def _names(runs: Sequence[Identity], folder: Path) -> list[str]:
    """Name the runs. Runs that the sweep's folder lists keep their names."""
    listed = _listed(Path(folder))
    several = len({arch for _, arch, *_ in [*runs, *listed]}) > 1
    return [listed.get(run) or _name(*run, several) for run in runs]


def _name(task: str, arch: str, method: str, seed: int, with_arch: bool) -> str:
    return f'{task}_{f"{arch}_" if with_arch else ""}{method}_seed{seed}'


def _listed(folder: Path) -> dict[Identity, str]:
    """Read the names of a sweep's runs whose backbones are known. A damaged list is none yet."""
    try:
        runs = json.loads((folder / SWEEP_FILE).read_text(encoding='utf-8'))['runs']
        return {
            (run['task'], arch, _method(run), run['seed']): run['name']
            for run in runs
            if (arch := _listed_backbone(run, folder).arch) is not None
        }
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _method(run: dict[str, Any]) -> str:
    return spelled_as_preset(run['method'], run.get('settings'))


def _listed_backbone(run: dict[str, Any], folder: Path) -> Backbone:
    if 'backbone' in run:
        return Backbone(**run['backbone'])
    return recorded_backbone(folder / run['name'])


def _make_job(config: Config, variant: Variant, folder: Path, name: str, options: Options) -> Job:
    task, _, method_of_table, seed = _identity(config)
    own_folder = Path(folder).absolute() / name
    arguments = [str(Path(config.filename).absolute()), '--work-dir', str(own_folder)]
    arguments += ['--resume', 'auto', '--seed', str(seed), *(['--amp'] if options.amp else [])]
    arguments += [*variant.arguments(), *(['--validate'] if options.validate else [])]
    if options.cfg_options:
        arguments += ['--cfg-options', *options.cfg_options]
    return Job(
        name=name,
        folder=own_folder,
        config=variant.config,
        method=method_of_table,
        task=task,
        seed=seed,
        backbone=backbone_of(config),
        resolved=config,
        arguments=tuple(arguments),
        settings=config.get('tried', ConfigDict()).to_dict(),
    )
