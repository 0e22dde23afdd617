"""Many adapters over one backbone in memory, chosen by name for each request."""

import copy
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.patches import input_size
from memba_vision.models.peft.adapter_files import AdapterInfo, linear_head, read_adapter
from memba_vision.models.peft.model import PEFTModel
from memba_vision.models.peft.sharing import share_unchanged
from memba_vision.registry import MODELS


class AdapterBank:
    """Classifiers that share the weights of one backbone.

    Each adapter file is attached once, by :meth:`add`; after that a request costs a forward pass.
    The adapters may be of different methods and tasks.

    Args:
        backbone: with its weights loaded; it is not to be changed afterwards.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone.requires_grad_(False)
        self._models: dict[str, nn.Module] = {}
        self._infos: dict[str, AdapterInfo] = {}
        self._adding = threading.Lock()

    def add(self, name: str, path: str | Path) -> AdapterInfo:
        """Attach an adapter file under a name; threads that do so wait for each other.

        Raises:
            UserError: the name is taken, or the file is of another base.
        """
        with self._adding:  # two might take the same name
            return self._add(name, path)

    def _add(self, name: str, path: str | Path) -> AdapterInfo:
        if name in self._models:
            raise UserError(f'there is an adapter {name!r} already: choose another name')
        state_dict, info = read_adapter(path)
        copies: dict[int, Any] = {}
        # An adapter may change frozen weights too, when it is attached or loaded.
        adapted = PEFTModel(copy.deepcopy(self.backbone, copies), info.adapters)
        model = _build_classifier(adapted, state_dict, self._pools, str(path))
        _load(model, state_dict, path)
        share_unchanged(adapted.module, self.backbone, copies)
        self._models[name] = model.eval()
        self._infos[name] = info
        return info

    @cached_property
    @torch.no_grad()
    def _pools(self) -> bool:
        """True where the backbone puts out maps, which are pooled before the head."""
        out_type = getattr(self.backbone, 'out_type', None)
        if out_type is not None:
            return out_type == 'featmap'
        first = next(module for module in self.backbone.modules() if isinstance(module, nn.Conv2d))
        size = (1, first.in_channels, *input_size(self.backbone))
        return self.backbone(torch.zeros(size).to(first.weight))[-1].ndim == 4

    def infos(self) -> dict[str, AdapterInfo]:
        """Return the headers of the adapters, by name."""
        return dict(self._infos)

    def model(self, name: str) -> nn.Module:
        """Return the classifier with the adapter ``name``, in evaluation mode; not to be changed.

        Raises:
            UserError: there is no such adapter.
        """
        if name not in self._models:
            known = ', '.join(self._models) or 'none'
            raise UserError(f'no adapter {name!r}; known are {known}')
        return self._models[name]

    @torch.no_grad()
    def __call__(self, name: str, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (batch, classes) of normalised ``images`` by the adapter ``name``.

        Raises:
            UserError: there is no such adapter.
        """
        return self.model(name)(images)


def _build_classifier(
    backbone: PEFTModel, state_dict: dict[str, torch.Tensor], pools: bool, source: str
) -> nn.Module:
    """Build an untrained classifier with a linear head, and the neck of the state dict if any."""
    init_default_scope('mmpretrain')
    classes, width = linear_head(state_dict, source).shape
    head = dict(type='LinearClsHead', num_classes=classes, in_channels=width)
    has_neck = any(key.startswith('neck.') for key in state_dict)
    neck = dict(type='FeatureNorm', input_features=width) if has_neck else None
    if pools:
        neck = dict(type='GlobalAveragePooling')
    settings = dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head)
    return MODELS.build(settings).to(next(backbone.parameters()).device)


def _load(model: nn.Module, state_dict: dict[str, torch.Tensor], path: str | Path) -> None:
    try:
        model.load_state_dict(state_dict)
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    except RuntimeError as error:
        raise UserError(f'{path} does not fit its own header: {error}') from error
