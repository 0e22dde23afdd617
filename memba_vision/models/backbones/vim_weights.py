"""Files with weights of Vim: the names in them, the variants of Vim, and loading."""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from mmengine.logging import print_log
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.backbones.official_files import (
    initialize_backbone,
    linear_head,
    load_stored,
)
from memba_vision.weights import HEADS, StoredWeights, read_weights, under_names

#: Names in every file of weights of Vim: they tell what is before all of its names.
ANCHORS = ('cls_token', 'pos_embed', 'patch_embed.proj.weight', 'norm_f.weight')
# What the authors' names of models say of those that this Vim is, and what the others are.
_VARIANT = {
    'bimambav2': 'its blocks are not those of bimamba_type "v2"',
    'midclstok|middle_cls_token': 'its class token, if any, is not in the middle',
    'div2': 'its directions are added, not averaged',
    '^(?!.*rope)': 'it has rotary position embeddings',
}


def initialize_vim(vim: nn.Module) -> None:
    """Do as ``vim.init_cfg`` says; see :func:`initialize_backbone`."""
    initialize_backbone(vim, lambda *file: _load(vim, read_vim(*file)))


def _load(vim: nn.Module, stored: StoredWeights) -> None:
    named = re.search(r'_stride(\d+)_', stored.model_name or '')
    stride = vim.patch_embed.proj.stride[0]
    if named and int(named[1]) != stride:
        print_log(
            f'{stored.source} is of {stored.model_name}, with a stride of {named[1]}; this '
            f'{vim.family} has stride={stride}',
            logger='current',
            level=logging.WARNING,
        )
    load_stored(vim, stored)


def read_vim(location: str, prefix: str | None = None, key: str | None = None) -> StoredWeights:
    """Read weights of Vim under the official names, whatever stands before them in the file.

    A head that is one linear layer comes along as ``head.weight`` and ``head.bias``.

    Args:
        location: see :func:`memba_vision.weights.resolve`.
        prefix: see :func:`memba_vision.weights.read_weights`.
        key: see there.

    Raises:
        UserError: the file cannot be read, or is of another variant of Vim.
    """
    stored = read_weights(location, prefix, key)
    check_variant(stored)
    return replace(stored, tensors=official_names(stored.tensors, location))


def check_variant(stored: StoredWeights) -> None:
    """Compare the name that the authors' script gave the model with what this Vim computes.

    Their variants have the same names and shapes of weights.

    Raises:
        UserError: it is another variant.
    """
    name = stored.model_name or ''
    wrong = [meaning for part, meaning in _VARIANT.items() if not re.search(part, name)]
    if 'bimamba' in name and wrong:
        raise UserError(
            f'{stored.source} is of {name}: {", and ".join(wrong)}, so this Vim would make '
            'something else of the same weights. Take a file whose name has bimambav2, midclstok '
            'and div2; where the name is not to be trusted, "tools/weights.py convert '
            '--any-variant" leaves it out'
        )


def official_names(tensors: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """The tensors without a shared prefix; a linear head becomes 'head', other heads are dropped.

    A neck stays, for the head needs it.

    Raises:
        UserError: two names become one.
    """
    named = under_names(tensors, ANCHORS, source)
    heads = {n: t for n, t in named.items() if n.startswith(HEADS)}
    body = {n: t for n, t in named.items() if n not in heads}
    return body | linear_head(heads, source)
