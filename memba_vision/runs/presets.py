"""Presets: a method's adapters and their settings, for any config."""

import difflib
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.file_kinds import kind_of
from memba_vision.package_data import PRESETS

ENDINGS = ('.py', '.yml', '.yaml', '.json')  # of configs that mmengine reads


def read_config(path: str | Path) -> Config:
    """Read a config file.

    Raises:
        UserError: it cannot be read.
    """
    if Path(path).suffix not in ENDINGS:
        kind = kind_of(path)
        raise UserError(
            f'{path} is {kind or "no config"}: give a config, a file of Python such as '
            'configs/demo/digits_memba.py'
        )
    try:
        return Config.fromfile(path)
    except UserError:
        raise
    except Exception as error:
        if Path(path).suffix == '.json' and isinstance(error, AttributeError):
            raise UserError(f'{path} is no config: it holds a list, not settings') from error
        reason = ' '.join(str(error).split())
        raise UserError(
            f'config {path} cannot be read: {type(error).__name__}: {reason}'
        ) from error


def read_often(path: Path) -> Config:
    """Read a config file that many runs share: once, as long as it is not changed.

    Raises:
        UserError: it cannot be read.
    """
    return deepcopy(_read_once(path, path.stat().st_mtime_ns))


@cache
def _read_once(path: Path, changed: int) -> Config:
    return read_config(path)


def preset_names() -> list[str]:
    """Return the methods that have a preset."""
    return sorted(path.stem for path in PRESETS.glob('*.py'))


def read_preset(name: str, overrides: dict) -> Config:
    """Read a preset: ``adapters``, and what is to be changed in the backbone, ``module``.

    Args:
        name: a file of ``configs/_base_/peft`` without its ending, or the path of a file like
            those.
        overrides: settings that replace those of every adapter that states them, which a family
            of models gives as ``adapter_settings`` (small models want another rank and scale).

    Raises:
        UserError: there is no such preset, or it names no adapters, or they are no dicts.
    """
    path = Path(name) if name.endswith('.py') else PRESETS / f'{name}.py'
    if not path.is_file():
        known = ', '.join(preset_names()) or f'none, as {PRESETS} does not exist'
        near = ' or '.join(difflib.get_close_matches(name, preset_names(), 2))
        meant = f' (did you mean {near}?)' if near else ''
        raise UserError(f'--peft {name}: no such method{meant}; known are {known}')
    preset = read_often(path)
    if not isinstance(preset.get('adapters'), list):
        raise UserError(f'--peft {name}: {path} has no list "adapters"')
    for part in (*preset.adapters, preset.get('module', {})):
        if not isinstance(part, Mapping):
            raise UserError(
                f'--peft {name}: each adapter, and module, is expected to be a dict, such as '
                f"dict(type='LoRA', rank=8), found {part!r} in {path}"
            )
    for adapter in preset.adapters:
        adapter.update(_of_family(adapter, overrides))
    return preset


def _of_family(adapter: dict, overrides: dict) -> dict:
    """Return those settings of a family that replace an adapter's own.

    Its scale is LoRA's, alpha / rank. That of rsLoRA is alpha (Kalajdzievski 2023, section 3), and
    the alpha of both is the same.
    """
    replaced = {key: value for key, value in overrides.items() if key in adapter}
    if replaced and adapter.get('rank_stabilized'):
        scale = replaced.get('scale', adapter['scale'] / adapter['rank'])
        replaced['scale'] = scale * replaced.get('rank', adapter['rank'])
    return replaced


def use_preset(config: Config, name: str) -> None:
    """Put a preset in the place of the method of ``config``; all else stays as it is.

    What the preset imports is imported with the config too.

    Args:
        config: the config of a run, changed in place; ``config.peft`` is the preset's name then.
        name: see :func:`read_preset`. A file of the user's own is taken as it stands, without the
            family's ``adapter_settings``.

    Raises:
        UserError: see :func:`read_preset`; or the config has no backbone to adapt, or a file has
            the name of a shipped preset and other settings.
    """
    # The shipped presets are those of Vim-S; a file of the user's own says what it means.
    overrides = {} if name.endswith('.py') else config.get('adapter_settings', {})
    preset = read_preset(name, overrides)
    module = config.get('model', {}).get('backbone', {}).get('module')
    if module is None:
        raise UserError(
            f'--peft {name}: {config.filename} adapts no backbone (it has no model.backbone.module)'
        )
    _check_name(name, preset)
    config.model.backbone = dict(type='PEFTModel', adapters=preset.adapters, module=module)
    config.merge_from_dict({'model.backbone.module': preset.get('module', {})})
    own = config.get('custom_imports', {}).get('imports', [])
    added = preset.get('custom_imports', {}).get('imports', [])
    if added:
        config.custom_imports = dict(imports=list(dict.fromkeys([*own, *added])))
    config.peft = Path(name).stem


def _check_name(name: str, preset: Config) -> None:
    """Raise a UserError for a file with the name of a shipped preset and another content."""
    shipped = PRESETS / f'{Path(name).stem.replace("-", "_")}.py'
    if not name.endswith('.py') or not shipped.is_file():
        return
    contents = (config.to_dict() for config in (preset, read_often(shipped)))
    own, known = ((one['adapters'], one.get('module', {})) for one in contents)
    if own != known:
        raise UserError(
            f'--peft {name}: {shipped.stem} is a shipped method, with other settings, and results '
            'go by the name of the file: give yours another name'
        )
