"""Strict loading of pre-trained weights into backbones of mmpretrain."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule, PretrainedInit

from memba_vision.models.backbones.transformer_weights import names_of_mmpretrain
from memba_vision.models.backbones.weight_files import check_pretrained
from memba_vision.weights import BESIDE_THE_BACKBONE, load_through_hooks, read_state_dict

#: Addresses that are read here; mmengine knows others, such as ``torchvision://``.
SCHEMES = ('', 'http', 'https', 'memba_vision')


def initialize_backbone(backbone: BaseModule) -> None:
    """Initialise a backbone as its ``init_cfg`` says; every weight of a file must fit.

    mmengine would load weights that fit, and log others. A class from outside mmengine and
    mmpretrain with an ``init_weights`` of its own sees to it itself.

    Args:
        backbone: not initialised yet. In its ``init_cfg``, ``dict(type='Pretrained',
            checkpoint=…)`` may have ``prefix`` and ``key`` (see
            :func:`memba_vision.weights.read_weights`).

    Raises:
        UserError: a file cannot be read, or does not fit; an entry for one has other settings.
    """
    library = type(backbone).init_weights.__module__.partition('.')[0]
    if library not in ('mmengine', 'mmpretrain'):
        backbone.init_weights()
        return
    given = backbone.init_cfg
    entries = [given] if isinstance(given, Mapping) else list(given or [])
    files = [entry for entry in entries if _is_file(entry)]
    for entry in files:
        check_pretrained(entry)
    named = [entry for entry in files if entry.get('checkpoint') is not None]
    if not named:
        backbone.init_cfg = [entry for entry in entries if entry not in files] or None
        with _without_a_list_on_the_terminal():
            backbone.init_weights()
    for entry in named:  # all weights come from there
        _load(backbone, entry)
    backbone.init_cfg, backbone._is_init = given, True


@contextmanager
def _without_a_list_on_the_terminal() -> Iterator[None]:
    """Keep mmengine from saying how each parameter was initialised, but in a log file."""
    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel(max(before, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(before)


def _is_file(entry: Mapping[str, Any]) -> bool:
    if entry.get('type') not in ('Pretrained', PretrainedInit):
        return False
    return urlparse(str(entry.get('checkpoint'))).scheme in SCHEMES


def _load(backbone: BaseModule, entry: Mapping[str, Any]) -> None:
    source = str(entry['checkpoint'])
    tensors = read_state_dict(source, entry.get('prefix'), entry.get('key'))
    load_backbone(backbone, tensors, source)


def load_backbone(backbone: BaseModule, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Load weights under mmpretrain's or their authors' names into a backbone of mmpretrain's.

    Args:
        backbone: receives the tensors.
        tensors: by name; heads are left aside.
        source: the file, for the error's text.

    Raises:
        UserError: they do not fit.
    """
    named = names_of_mmpretrain(backbone, tensors, source)
    load_through_hooks(backbone, named, source, ignore_prefixes=BESIDE_THE_BACKBONE)
