"""Shipped models: files of ``configs/_base_/models``, whose backbones any config can take."""

import difflib
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.package_data import package_data_folder
from memba_vision.runs.presets import read_often

BASE_MODELS = package_data_folder() / 'configs' / '_base_' / 'models'


def architectures() -> list[str]:
    """Return the names of the shipped backbones, 'vim-mini', …; ``_METHOD`` follows in others."""
    return sorted(path.stem for path in BASE_MODELS.glob('*.py') if '_' not in path.stem)


def read_base_model(name: str) -> Config:
    """Read the config of a model that adapts a backbone.

    Args:
        name: one of :func:`architectures`, with hyphens or underscores, or a file like theirs.

    Raises:
        UserError: there is none, or it has no ``model.backbone.module``, or its head is no dict.
    """
    known = architectures()
    short = name.replace('_', '-')
    path = Path(name) if name.endswith('.py') else BASE_MODELS / f'{short}.py'
    if not path.is_file():
        near = ' or '.join(difflib.get_close_matches(short, known, 2))
        meant = f' (did you mean {near}?)' if near else ''
        raise UserError(f'--backbone {name}: no such backbone{meant}; known are {", ".join(known)}')
    config = read_often(path)
    part = config
    for key in ('model', 'backbone', 'module'):
        part = part.get(key)
        if not isinstance(part, Mapping):
            raise UserError(f'--backbone {name}: {path} has no model.backbone.module')
    head = config.model.get('head', {})
    if not isinstance(head, Mapping):
        raise UserError(f'--backbone {name}: {path}: model.head: expected a dict, found {head!r}')
    return config


def use_backbone(config: Config, name: str) -> None:
    """Put a backbone in the place of that of ``config``; data, recipe and adapters stay.

    The pipelines follow its image size, and the head its width. What its file says of the recipe
    (``recipe``) and of adapters (``adapter_settings``) counts too.

    Args:
        config: the config of a run, changed in place; ``config.backbone`` is the name then.
        name: see :func:`read_base_model`.

    Raises:
        UserError: there is no such backbone, or the config has none to replace.
    """
    from memba_vision.runs.image_size import following_image_size  # needs torch

    base = read_base_model(name)
    own = config.get('model', {})
    if 'module' not in own.get('backbone', {}):
        raise UserError(
            f'--backbone {name}: {config.filename} adapts no backbone (it has no '
            'model.backbone.module)'
        )
    backbone = {**own.backbone, 'module': base.model.backbone.module}
    head = {**own.get('head', {}), **base.model.get('head', {})}
    with following_image_size(config):
        config.model = {**base.model, 'backbone': backbone, 'head': head}
    config.merge_from_dict(base.get('recipe', {}))
    config.adapter_settings = base.get('adapter_settings', {})
    config.backbone = Path(name).stem.replace('_', '-')
