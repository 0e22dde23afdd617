"""Models by name: an architecture, and a method behind it or none."""

import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from modelindex.models.Model import Model
from torch import nn

from memba_vision.engine.config_errors import reporting_config_errors
from memba_vision.errors import UserError
from memba_vision.models.backbones.initialization import initialize_backbone
from memba_vision.models.modules.patches import input_size, to_pair
from memba_vision.package_data import package_data_folder
from memba_vision.registry import MODELS, ignore_missing_operator
from memba_vision.runs.base_models import architectures, read_base_model
from memba_vision.runs.image_size import following_image_size, stated_image_size
from memba_vision.runs.presets import preset_names, read_config, use_preset
from memba_vision.zoo.arguments import check_arguments, move_to_device
from memba_vision.zoo.combinations import unsupported_reason
from memba_vision.zoo.model_size import build_on_meta
from memba_vision.zoo.pretrained import NUM_CLASSES, pretrained_weights, take_head

CLASSIFICATION = 'Image Classification'
SMALL, LARGE = 48, 224  # pixels, for which there are files of data
BASES = package_data_folder() / 'configs' / '_base_'


def list_models(pattern: str | None = None) -> list[str]:
    """Return the names that :func:`get_model` knows.

    Args:
        pattern: show names that begin like this; ``*`` stands for anything, as in '*lora*'.

    Returns:
        Each architecture, and each with the preset behind it of each method whose places it has,
        as 'vim_small_lora_out_proj'.
    """
    return [
        name
        for name, (architecture, preset) in combinations().items()
        if fnmatch(name, f'{pattern or ""}*')
        and (preset is None or unsupported_reason(architecture, preset) is None)
    ]


def combinations() -> dict[str, tuple[str, str | None]]:
    """Return architecture and preset, None for none, by name, whether they go together or not."""
    return {
        '_'.join(filter(None, (architecture.replace('-', '_'), preset))): (architecture, preset)
        for architecture in architectures()
        for preset in (None, *preset_names())
    }


def get_model(
    name: str,
    pretrained: bool | str | Path | Mapping[str, Any] = False,
    num_classes: int | None = None,
    device: str | torch.device | None = None,
    **settings: Any,
) -> nn.Module:
    """Build a classifier: mmpretrain's, in evaluation mode.

    Args:
        name: one of :func:`list_models`.
        pretrained: True takes the official weights of the backbone, which are downloaded once
            (those of vim_mini come with the package). A path takes that file: weights of the
            backbone, or for a model with a method a checkpoint of its training, over the official
            weights. ``dict(checkpoint=PATH, key='model_ema', prefix='student.')`` chooses where a
            file holds several models. Loading is strict. False leaves the weights random.
        num_classes: outputs of the head. None stands for those of the weights where they have a
            head for this model, else for 1000; only then is the head not a fresh one.
        device: the device of the model.
        **settings: of the backbone, such as ``img_size``, ``out_type``, ``out_indices`` and
            ``drop_path_rate``.

    Raises:
        UserError: there is no such model, a setting does not fit, or the weights do not.
    """
    check_arguments(num_classes, settings)
    config = model_config(name)
    adapted = 'module' in config.model.backbone
    backbone = config.model.backbone.module if adapted else config.model.backbone
    with following_image_size(config):
        backbone.update(settings)
    weights = pretrained_weights(name, config.model, pretrained, num_classes)
    backbone.init_cfg = weights.init_cfg
    config.model.head.num_classes = weights.outputs or num_classes or NUM_CLASSES
    if settings:
        _follow_width(config)
    model = build_classifier(config)
    if not adapted:
        initialize_backbone(model.backbone)
    weights.load_beside(model)
    return move_to_device(model, device).eval()


def build_classifier(config: Config) -> nn.Module:
    """Return the model of a config, with what mmpretrain's inferencers look for on it.

    Raises:
        UserError: a setting does not fit.
    """
    init_default_scope('mmpretrain')
    with reporting_config_errors('the model'):
        import_modules_from_strings(**config.get('custom_imports', dict(imports=[])))
        settings = config.model
        if 'data_preprocessor' in config:
            settings.setdefault('data_preprocessor', config.data_preprocessor)
        with warnings.catch_warnings():
            ignore_missing_operator()
            model = MODELS.build(settings)
    model.register_load_state_dict_pre_hook(take_head)
    # A result without metrics tells mmpretrain what the model is for.
    metainfo = Model(results=[{'Task': CLASSIFICATION}])
    model._config, model._metainfo, model._dataset_meta = config, metainfo, {}
    return model


def model_config(name: str) -> Config:
    """Model, preprocessing and test pipeline of a model's name, hyphens or underscores in it.

    Raises:
        UserError: there is no such model.
    """
    architecture, preset = _split(name)
    config = read_base_model(architecture)
    use_own_data(config, stated_image_size(config, architecture))
    if preset:
        use_preset(config, preset)
    else:
        config.model.backbone = config.model.backbone.module
    config.model.head.num_classes = NUM_CLASSES
    return config


def use_own_data(config: Config, size: int | Sequence[int]) -> None:
    """Give a model's config the preprocessing and the test pipeline of data of one's own.

    Args:
        config: of a model, changed in place.
        size: of its images from now on, one number or height and width.
    """
    written = SMALL if max(to_pair(size, 'img_size')) <= SMALL else LARGE
    data = read_config(BASES / 'datasets' / f'own_{written}.py')
    config.data_preprocessor = data.data_preprocessor
    config.test_dataloader = data.test_dataloader
    module = config.model.backbone.module
    module.img_size = written
    with following_image_size(config):
        module.img_size = size if isinstance(size, int) else tuple(size)


def _split(name: str) -> tuple[str, str | None]:
    plain = str(name).lower().replace('-', '_')
    for architecture in architectures():
        prefix = architecture.replace('-', '_')
        if plain == prefix:
            return architecture, None
        preset = plain.removeprefix(f'{prefix}_')
        if preset != plain and preset in preset_names():
            return architecture, preset
    known = ', '.join(architectures()).replace('-', '_')
    raise UserError(
        f'no model {name!r}: a name is one of {known}, alone or with _METHOD behind it, as '
        'vim_small_memba; memba_vision.list_models() has them all'
    )


def _follow_width(config: Config) -> None:
    """Let neck and head follow the width of the backbone's features."""
    backbone = config.model.backbone
    with reporting_config_errors('the backbone'):
        width = feature_dim(build_on_meta(backbone.get('module', backbone)))
    config.model.head.in_channels = width
    if 'input_features' in config.model.get('neck', {}):
        config.model.neck.input_features = width


@torch.no_grad()
def feature_dim(backbone: nn.Module) -> int:
    """Return the channels of a backbone's last output.

    Args:
        backbone: on the meta device. One without an attribute ``feature_dim`` is shown an image.
    """
    if hasattr(backbone, 'feature_dim'):
        return backbone.feature_dim
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    backbone.eval()  # a statement: it returns nothing where it is mmpretrain's
    images = torch.empty(1, first.in_channels, *input_size(backbone), device='meta')
    return backbone(images)[-1].shape[1]
