"""Files of weights for named models, divided into the parts of a model."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from memba_vision.engine.training_checkpoints import (
    load_training_checkpoint,
    read_training_checkpoint,
)
from memba_vision.errors import UserError
from memba_vision.models import PEFTModel
from memba_vision.models.backbones.initialization import load_backbone
from memba_vision.models.backbones.weight_files import WeightFiles
from memba_vision.models.peft.adapter_files import holds_adapters
from memba_vision.registry import MODELS
from memba_vision.weights import ADAPTER_HEADER, StoredWeights, load_strictly, source_of
from memba_vision.zoo.families import files_of

NUM_CLASSES = 1000  # of ImageNet, which the official weights were trained on


@dataclass(frozen=True)
class Pretrained:
    """The weights that a model starts from.

    Args:
        init_cfg: of the backbone; None leaves it random.
        beside: weights of a neck and of the head, ``head.weight`` and ``head.bias``, if they are
            taken.
        classes: the names of the head's classes, if known.
        trained: state dict of adapters and head, loaded over the backbone's weights.
        source: the origin of all of them, for the text of errors.
    """

    init_cfg: dict[str, Any] | None = None
    beside: dict[str, torch.Tensor] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    trained: dict[str, torch.Tensor] | None = None
    source: str = ''

    @property
    def outputs(self) -> int | None:
        """Outputs of the head that is taken; None without one."""
        return len(self.beside['head.bias']) if 'head.bias' in self.beside else None

    def load_beside(self, model: nn.Module) -> None:
        """Load what is not of the backbone into the built model.

        Raises:
            UserError: it does not fit.
        """
        if self.trained is not None:
            load_training_checkpoint(model, {'state_dict': self.trained}, self.source)
        elif self.beside:
            load_strictly(model.head.fc, _below('head.', self.beside), self.source)
            if neck := _below('neck.', self.beside):
                load_strictly(model.neck, neck, self.source)
        if self.classes:
            model._dataset_meta = {'classes': list(self.classes)}


def pretrained_weights(
    name: str,
    model: Mapping[str, Any],
    wanted: bool | str | Path | Mapping[str, Any],
    num_classes: int | None,
) -> Pretrained:
    """Resolve the argument ``pretrained`` of :func:`memba_vision.get_model`.

    Args:
        name: of the model.
        model: its config, in which the backbone's ``init_cfg`` names its official weights.
        wanted: the argument.
        num_classes: see :func:`memba_vision.get_model`.

    Raises:
        UserError: the file cannot be read, or its head has another number of outputs.
    """
    adapted = 'module' in model['backbone']
    backbone = model['backbone']['module'] if adapted else model['backbone']
    official = backbone.get('init_cfg')
    if wanted is True and not (official and official.get('checkpoint')):
        raise UserError(f'{name} starts from random weights: leave pretrained=True out')
    file = _file(official, wanted)
    if file is None:
        return Pretrained()
    files = files_of(backbone)
    stored = files.read(file['checkpoint'], file.get('prefix'), file.get('key'))
    init_cfg = {'type': 'Pretrained', **file}
    beside = {n: t for n, t in stored.tensors.items() if files.is_beside(n, ('head.', 'neck.'))}
    trained = _trained_adapters(stored) if adapted else None
    number = len(beside['head.bias']) if 'head.bias' in beside else None
    if trained is not None:
        if num_classes not in (None, number):
            raise UserError(
                f'{stored.source} has a head of {number} classes, not {num_classes}: leave '
                'num_classes out'
            )
        return Pretrained(official, beside, stored.classes, trained, stored.source)
    fits = number is not None and num_classes in (None, number)
    if adapted or not fits or ('neck' not in model and _below('neck.', beside)):
        return Pretrained(init_cfg)
    classes = stored.classes or _imagenet(number)
    return Pretrained(init_cfg, beside, classes, source=stored.source)


def _trained_adapters(stored: StoredWeights) -> dict[str, torch.Tensor] | None:
    """Adapters and head as a classifier's state dict; None if the file is not of adapters."""
    if holds_adapters(stored.source, stored.tensors):
        return read_training_checkpoint(stored.source)['state_dict']
    return None


def _file(
    official: dict[str, Any] | None, wanted: bool | str | Path | Mapping[str, Any]
) -> dict[str, Any] | None:
    if wanted is False or wanted is None:
        return None
    if wanted is True:
        return {'checkpoint': official['checkpoint']}
    if isinstance(wanted, str | Path):
        return {'checkpoint': str(wanted)}
    known = ('checkpoint', 'key', 'prefix')
    if not isinstance(wanted, Mapping) or not {'checkpoint'} <= {*wanted} <= {*known}:
        raise UserError(
            'pretrained is True, False, the path of a file, or a dict of checkpoint, key and '
            f'prefix; got {wanted!r}'
        )
    return {**wanted, 'checkpoint': str(wanted['checkpoint'])}


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _of_adapters(tensors: Mapping[str, torch.Tensor]) -> bool:
    return any(name.endswith(ADAPTER_HEADER) for name in tensors)


def _imagenet(number: int) -> tuple[str, ...]:
    if number != NUM_CLASSES:
        return ()
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    return tuple(IMAGENET_CATEGORIES)


# Support for mmengine's load_checkpoint on a classifier


@MODELS.register_module(name='IndexedClassifier')
def build_indexed(official: dict[str, Any] | None = None, **settings: Any) -> nn.Module:
    """Build mmpretrain's classifier so that a file loaded into it fits as a whole, or is an error.

    Args:
        official: ``init_cfg`` of the weights that adapters were trained over.
        **settings: of mmpretrain's classifier.
    """
    backbone = copy.deepcopy(settings['backbone'])
    model = MODELS.build({'type': 'ImageClassifier', **settings})
    if 'module' in backbone:
        model.register_load_state_dict_pre_hook(partial(_give_base, backbone, official))
    elif not hasattr(model.backbone, 'files'):
        model.loads_strictly = True  # no part of it is this package's, by which it were known
        model.register_load_state_dict_pre_hook(_fit_foreign)
    model.register_load_state_dict_pre_hook(take_head)
    return model


def _fit_foreign(
    model: nn.Module,
    state_dict: dict[str, torch.Tensor],
    prefix: str,
    local_metadata: dict,
    *_: Any,
) -> None:
    """Load a file of weights into a backbone of mmpretrain's own, whole or not at all."""
    source = source_of(local_metadata)
    if source is None or prefix or _of_adapters(state_dict):
        return
    named = WeightFiles().official_names(state_dict, source)
    heads = {n: t for n, t in named.items() if n.startswith('head.')}
    load_backbone(model.backbone, named, source)
    own = {f'backbone.{name}': tensor for name, tensor in model.backbone.state_dict().items()}
    heads = {name.replace('head.', 'head.fc.'): tensor for name, tensor in heads.items()}
    state_dict.clear()
    state_dict.update({**own, **heads})


def _give_base(
    backbone: dict[str, Any],
    official: dict[str, Any] | None,
    model: nn.Module,
    state_dict: dict[str, torch.Tensor],
    prefix: str,
    local_metadata: dict,
    *_: Any,
) -> None:
    """Build the adapted backbone again over the weights that the file needs, or that it holds."""
    source = source_of(local_metadata)
    if source is None or prefix or not isinstance(model.backbone, PEFTModel):
        return
    adapters = _of_adapters(state_dict)
    init_cfg = official if adapters else dict(type='Pretrained', checkpoint=source)
    module = {**backbone['module'], 'init_cfg': init_cfg}
    model.backbone = MODELS.build({**backbone, 'module': module})
    if not adapters:  # adapters and head stay fresh
        state_dict.clear()
        state_dict.update(model.state_dict())


def take_head(
    model: nn.Module,
    state_dict: dict[str, torch.Tensor],
    prefix: str,
    local_metadata: dict,
    *_: Any,
) -> None:
    """Make the head fit before a file is loaded: 1000 classes stand for any number.

    Raises:
        UserError: the file has another number of classes than the model, or a neck beside it.
    """
    source = source_of(local_metadata)
    weight, layer = state_dict.get(f'{prefix}head.fc.weight'), getattr(model.head, 'fc', None)
    if source is None or weight is None or not isinstance(layer, nn.Linear):
        return
    number, width = weight.shape
    if _below(f'{prefix}neck.', state_dict) and not model.with_neck:
        raise UserError(f'{source} has a neck before its head, the model has none: give neck=…')
    state_dict.setdefault(f'{prefix}head.fc.bias', torch.zeros(number, dtype=weight.dtype))
    if layer.out_features not in (number, NUM_CLASSES) or layer.in_features != width:
        raise UserError(
            f'{source} has a head of {number} classes over {width} features, the model has one of '
            f'{layer.out_features} over {layer.in_features}: build the model with '
            f'num_classes={number}'
        )
    if layer.out_features != number:
        print_log(f'{source}: its head of {number} classes is taken', logger='current')
        model.head.fc = nn.Linear(width, number)
        model.head.num_classes = number
