"""From a config file and the command line to the config of a run."""

from pathlib import Path

import torch
from mmengine.config import Config

from memba_vision.runs.base_models import architectures, use_backbone
from memba_vision.runs.options import apply_options
from memba_vision.runs.presets import preset_names, read_config, use_preset
from memba_vision.shipped import find_config


def load_config(
    path: str,
    options: dict,
    work_dir: str | None,
    launcher: str = 'none',
    peft: str | None = None,
    backbone: str | None = None,
) -> Config:
    """Read a config file and apply what the command line says.

    Args:
        path: the config file, or its name; see :func:`memba_vision.shipped.find_config`.
        options: settings by dotted key; see :func:`memba_vision.runs.options.apply_options`.
        work_dir: the run's folder; None stands for ``work_dirs/<config's name>``.
        launcher: 'none', or who starts the processes of a distributed run.
        peft: a method in place of the config's own; see :func:`memba_vision.runs.presets.
            use_preset`. It comes before ``options``.
        backbone: a backbone in place of the config's own; see :func:`memba_vision.runs.base_models.
            use_backbone`. It comes before ``peft``. A config whose method has a preset gets that,
            with the settings that the backbone's family gives adapters.

    Raises:
        UserError: the file is missing or does not parse, or an option is not read or does not fit.
    """
    config = read_config(find_config(path))
    if backbone:
        peft = peft or preset_of(config)
        use_backbone(config, backbone)
    if peft:
        use_preset(config, peft)
    apply_options(config, options)
    config.work_dir = work_dir or config.get('work_dir') or f'work_dirs/{run_name(config)}'
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
    """Return the method: that of ``--peft``, or the one that the file is named after."""
    return method_of_file(config.filename, config.get('task', ''), config.get('peft'))


def method_of_file(filename: str | None, task: str | None, peft: str | None) -> str:
    """Return the method of a run.

    Args:
        filename: of its config, ``<task>_<method>.py`` or ``<task>_<backbone>_<method>.py``.
        task: the task.
        peft: the argument of ``--peft``, if there was one.
    """
    if peft:
        return peft
    rest = Path(filename or 'config').stem.removeprefix(f'{task}_')
    backbone, _, method = rest.partition('_')
    return method if method and backbone in architectures() else rest


def preset_of(config: Config) -> str | None:
    """Return the shipped preset of a config's method, None where it has none."""
    preset = method_name(config).replace('-', '_')
    return preset if preset in preset_names() else None


def run_name(config: Config) -> str:
    """Return the name of a run's folder: the config's, or that of what replaced parts of it."""
    stem = Path(config.filename).stem
    replaced = [config[key] for key in ('backbone', 'peft') if config.get(key)]
    return '_'.join([config.get('task', stem), *replaced]) if replaced else stem
