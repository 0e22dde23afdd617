"""Check that a method finds its places on an architecture, by the places alone."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.model import attach_adapters
from memba_vision.models.peft.sharing import copy_sharing_weights
from memba_vision.models.sites import sites_of
from memba_vision.registry import MODELS
from memba_vision.runs.base_models import read_base_model
from memba_vision.runs.presets import read_preset
from memba_vision.zoo.model_size import build_on_meta

MOST_BLOCKS = 2  # of a stage: one of each kind

#: Of backbones without weights, by what tells them apart in their places.
_alike: dict[tuple, nn.Module] = {}


def unsupported_reason(architecture: str, preset: str) -> str | None:
    """Return a line on what an architecture lacks for a method, None where it lacks nothing.

    Args:
        architecture: one of :func:`memba_vision.runs.base_models.architectures`.
        preset: the name of the method's preset.
    """
    return _reason(_places(architecture), preset)


@cache
def _places(architecture: str) -> tuple:
    """Return what tells an architecture from those with other places."""
    settings = read_base_model(architecture).model.backbone.module
    deeper = build_on_meta(_shallow(settings, MOST_BLOCKS))
    backbone = build_on_meta(_shallow(settings, 1))
    if sites_of(backbone).offered() != sites_of(deeper).offered():
        backbone = deeper
    sites = sites_of(backbone)
    roles = tuple((block.stage, *sorted(block.projections)) for block in sites.blocks)
    key = type(backbone), sites.offered(), roles
    _alike.setdefault(key, backbone)
    return key


@cache
def _reason(places: tuple, preset: str) -> str | None:
    copied = copy_sharing_weights(_alike[places])
    try:
        with torch.device('meta'):
            attach_adapters(copied, _adapters(preset))
    except UserError as error:
        return str(error)
    return None


@cache
def _adapters(preset: str) -> list[dict]:
    return read_preset(preset, {}).adapters


def _shallow(settings: Mapping[str, Any], blocks: int) -> dict[str, Any]:
    """Return the settings of a backbone with so many blocks, all else being as it is."""
    arch = settings.get('arch')
    kind = MODELS.get(settings['type'])
    archs = getattr(kind, 'archs', None) or getattr(kind, 'arch_zoo', {})
    arch = dict(archs.get(arch, {}) if isinstance(arch, str) else arch or {})
    if 'num_layers' in arch:
        arch['num_layers'] = blocks
    if 'depths' in arch:
        arch['depths'] = [min(depth, blocks) for depth in arch['depths']]
    return {**settings, 'arch': arch} if arch else dict(settings)
