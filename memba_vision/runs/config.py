"""Loading of a run's config from a config file and the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.package_data import find_config
from memba_vision.runs.backbone import shipped_name
from memba_vision.runs.base_models import architectures, use_backbone
from memba_vision.runs.chosen_settings import use_chosen_settings
from memba_vision.runs.method_names import name_with_settings, spelled_as_preset
from memba_vision.runs.options import apply_options
from memba_vision.runs.presets import preset_names, read_config, use_preset
from memba_vision.runs.trial import Trial
from memba_vision.runs.validation import VALIDATION


def load_config(
    source: str | Config,
    options: dict,
    work_dir: str | None,
    launcher: str = 'none',
    peft: str | None = None,
    backbone: str | None = None,
    trial: Trial | None = None,
) -> Config:
    """Read a config file and apply what the command line says.

    Args:
        source: the config file, or its name; see :func:`memba_vision.package_data.find_config`. A
            config that was read before is changed in place.
        options: settings by dotted key; see :func:`memba_vision.runs.options.apply_options`.
        work_dir: the run's folder; None stands for ``work_dirs/<config's name>``.
        launcher: 'none', or who starts the processes of a distributed run.
        peft: a method in place of the config's own; see :func:`memba_vision.runs.presets.
            use_preset`. It comes before ``options``.
        backbone: a backbone in place of the config's own; see :func:`memba_vision.runs.base_models.
            use_backbone`. It comes before ``peft``. A config whose method has a preset gets that,
            with the settings that the backbone's family gives adapters.
        trial: settings to try, which come after ``options``, and the split that judges them. Where
            they are to be chosen, what was chosen before does not count.

    Raises:
        UserError: the file is missing, does not parse or has no model, or an option is not read or
            does not fit.
    """
    config = source if isinstance(source, Config) else read_config(find_config(source))
    if not isinstance(config.get('model'), Mapping):
        raise UserError(f'{config.filename or "the config"} is no config of a run: it has no model')
    trial = trial or Trial()
    if backbone or (trial.chooses and 'chosen_settings' in config):
        peft = peft or preset_of(config)
    if backbone:
        use_backbone(config, backbone)
    if peft or backbone:
        shipped = shipped_name(config)  # a preset may take its weights away
        if peft:
            use_preset(config, peft)
        use_chosen_settings(config, None if trial.chooses else peft, shipped)
    apply_options(config, options)
    name = run_name(config)
    trial.apply(config)
    name = name_with_settings(name, config.get('tried'))
    name += f'_{VALIDATION}' if trial.validate else ''
    config.work_dir = work_dir or config.get('work_dir') or f'work_dirs/{name}'
    config.launcher = launcher
    if launcher != 'none' and not torch.cuda.is_available():
        # mmengine's default wrapper is told a GPU's number.
        config.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None)
    return config


def set_seed_and_precision(config: Config, seed: int | None, amp: bool) -> None:
    """Put the seed, unless it is None, and bfloat16 autocast, if asked for, into a config."""
    if seed is not None:
        config.merge_from_dict({'randomness.seed': seed})
    if amp:
        config.merge_from_dict({'optim_wrapper.type': 'BFloat16OptimWrapper'})


def preprocessor_settings(config: Config) -> dict:
    """Return mean and standard deviation of the pixels, and what else the model's config says.

    Weights that want others than those of the data bring them along in ``model``.
    """
    return config.model.get('data_preprocessor') or config.get('data_preprocessor') or {}


def method_name(config: Config) -> str:
    """Return the method: that of ``--peft``, or the one that the file is named after.

    Where a run tries settings, they are part of the name: no two of them are averaged.
    """
    return method_of_record(config.filename, config)


def method_of_record(filename: str | None, config: Mapping[str, Any]) -> str:
    """Return the method of a run by its config, also as a record has it, and that one's file."""
    method = method_of_file(filename, config.get('task', ''), config.get('peft'))
    return name_with_settings(method, config.get('tried'))


def method_of_file(filename: str | None, task: str | None, peft: str | None) -> str:
    """Return the method of a run.

    Args:
        filename: of its config, ``<task>_<method>.py`` or ``<task>_<backbone>_<method>.py``. It may
            spell a preset with hyphens.
        task: the task.
        peft: the argument of ``--peft``, if there was one.
    """
    if peft:
        return peft
    rest = Path(filename or 'config').stem.removeprefix(f'{task}_')
    backbone, _, method = rest.partition('_')
    return spelled_as_preset(method if method and backbone in architectures() else rest)


def preset_of(config: Config) -> str | None:
    """Return the shipped preset of a config's method, None where it has none."""
    method = method_of_file(config.filename, config.get('task', ''), config.get('peft'))
    return method if method in preset_names() else None


def run_name(config: Config) -> str:
    """Return the name of a run's folder: the config's, or that of what replaced parts of it."""
    stem = Path(config.filename).stem
    replaced = [config[key] for key in ('backbone', 'peft') if config.get(key)]
    return '_'.join([config.get('task', stem), *replaced]) if replaced else stem
