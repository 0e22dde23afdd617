"""Entering published models into timm's registry."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import (
    adapt_input_conv,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
)
from torch import nn

from memba_vision.errors import UserError
from memba_vision.weights import announce, licence_of, load_strictly
from memba_vision.zoo.official import Official

HEAD = 'head.'
TAG = 'in1k'  # the name of a model alone stands for the same weights


def default_cfgs_of(models: dict[str, Official], first_convs: dict[str, str]) -> dict[str, Any]:
    """Return what timm knows of the weights of models.

    Args:
        models: by timm's name.
        first_convs: the first convolution by the class of the backbone.
    """
    return generate_default_cfgs(
        {
            name + tag: dict(
                url=official.url,
                license=licence_of(official.url),
                custom_load=True,
                input_size=(3, official.img_size, official.img_size),
                fixed_input_size=True,
                # The authors evaluate as DeiT's do: the short side is resized to 256 pixels.
                interpolation='bicubic',
                crop_pct=0.875,
                mean=IMAGENET_DEFAULT_MEAN,
                std=IMAGENET_DEFAULT_STD,
                num_classes=1000,
                first_conv=first_convs[official.family],
                classifier='head',
            )
            for name, official in models.items()
            for tag in ('', f'.{TAG}')
        }
    )


def checkpoint_filter_fn(
    state_dict: Mapping[str, Any], model: nn.Module
) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint as a model takes them, of its image size.

    timm adapts the first convolution and the head afterwards.

    Raises:
        UserError: keys, those of the head aside, are missing or left over.
    """
    for wrapper in ('state_dict', 'model'):
        state_dict = state_dict.get(wrapper, state_dict)
    tensors = {name: w for name, w in state_dict.items() if isinstance(w, torch.Tensor)}
    weights = model.files.rename(tensors)
    # timm is not strict where the head has other classes.
    own, given = (
        {name for name in names if not name.startswith(HEAD)}
        for names in (model.state_dict(), weights)
    )
    problems = [f'missing {name}' for name in sorted(own - given)]
    problems += [f'unexpected {name}' for name in sorted(given - own)]
    if problems:
        raise UserError(
            f'the checkpoint does not fit {type(model).__name__}: {"; ".join(problems)}. Choose '
            'the model that it was made with'
        )
    return model.files.fit(model, weights, 'the checkpoint')


def load_adapted(model: nn.Module, weights: dict[str, Any], first_conv: str, source: str) -> None:
    """Load weights strictly, but for a head of another number of classes, which stays.

    The first convolution is adapted to the model's ``in_chans`` as timm does.

    Args:
        model: with ``in_chans``, ``num_classes`` and ``head``.
        weights: as the model takes them.
        first_conv: the name of its first convolution.
        source: of the weights, for errors.
    """
    weights, conv = dict(weights), f'{first_conv}.weight'
    if conv in weights and weights[conv].shape[1] != model.in_chans:
        weights[conv] = adapt_input_conv(model.in_chans, weights[conv])
    head = weights.get(f'{HEAD}bias')
    if head is None or len(head) != model.num_classes:
        weights = {name: w for name, w in weights.items() if not name.startswith(HEAD)}
        weights |= {f'{HEAD}{name}': w for name, w in model.head.state_dict().items()}
    load_strictly(model, weights, source)


def parameters_ending_in(model: nn.Module, endings: Collection[str]) -> set[str]:
    """Return the full names of the parameters whose own name is one of ``endings``."""
    return {name for name, _ in model.named_parameters() if name.split('.')[-1] in endings}


def enter(
    name: str,
    official: Official,
    kind: type[nn.Module],
    module: str,
    out_indices: int | tuple[int, ...] = 3,
) -> None:
    """Register a function that creates a model with timm.

    Args:
        name: timm's.
        official: its published weights.
        kind: its class.
        module: the module that has ``default_cfgs`` of it.
        out_indices: the parts whose features are extracted where no others are asked for.
    """

    def create(pretrained: bool = False, **settings: Any) -> nn.Module:
        if pretrained:
            announce(official.url)
        settings = {'arch': official.arch, **official.settings, **settings}
        return build_model_with_cfg(
            kind,
            name,
            pretrained,
            pretrained_filter_fn=checkpoint_filter_fn,
            feature_cfg=feature_settings(settings, out_indices),
            **settings,
        )

    create.__name__, create.__module__ = name, module
    create.__doc__ = f'{official.family} {official.arch}.'
    register_model(create)


def feature_settings(
    settings: dict[str, Any], out_indices: int | tuple[int, ...]
) -> dict[str, Any]:
    """Take the settings of feature extraction out of those of ``create_model``."""
    given = {'out_indices': out_indices, 'feature_cls': 'getter', **settings.pop('feature_cfg', {})}
    given |= {key: settings.pop(key) for key in ('out_indices', 'feature_cls') if key in settings}
    if 'hook' in str(given['feature_cls']).lower():
        given.setdefault('output_fmt', 'NLC')  # a hook sees what a block puts out: all tokens
    return given
