"""Files with weights of Vim: the names in them, the variants of Vim, and loading."""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import PretrainedInit, initialize
from torch import nn

from memba_vision.errors import UserError
from memba_vision.weights import (
    ADAPTER_HEADER,
    BESIDE_THE_BACKBONE,
    HEADS,
    StoredWeights,
    check_fit,
    load_strictly,
    read_weights,
    source_of,
    under_names,
)

#: Names in every file of weights of Vim: they tell what is before all of its names.
ANCHORS = ('cls_token', 'pos_embed', 'patch_embed.proj.weight', 'norm_f.weight')
_SETTINGS = ('type', 'checkpoint', 'prefix', 'key', 'map_location')
# What the authors' names of models say of those that this Vim is, and what the others are.
_VARIANT = {
    'bimambav2': 'its blocks are not those of bimamba_type "v2"',
    'midclstok|middle_cls_token': 'its class token, if any, is not in the middle',
    'div2': 'its directions are added, not averaged',
    '^(?!.*rope)': 'it has rotary position embeddings',
}


def initialize_vim(vim: nn.Module) -> None:
    """Do as ``vim.init_cfg`` says: mmengine's initializers first, a file of weights last.

    Args:
        vim: its ``init_cfg`` is None, a dict or a list of dicts. ``type='Pretrained'`` has
            ``checkpoint``, ``prefix`` and ``key`` (see
            :func:`memba_vision.weights.read_weights`).

    Raises:
        UserError: an entry is none of these, or the weights do not fit.
    """
    given = vim.init_cfg or []
    entries = [given] if isinstance(given, Mapping) else given
    if not isinstance(entries, list | tuple) or not all(isinstance(e, Mapping) for e in entries):
        raise UserError(f'init_cfg is a dict or a list of dicts, got {given!r}')
    files = [entry for entry in entries if _names_a_file(entry)]
    others = [dict(entry) for entry in entries if not _names_a_file(entry)]
    try:
        if others:
            initialize(vim, others)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f'init_cfg {given}: {" ".join(str(error).split())}') from error
    for entry in files:
        if unknown := [name for name in entry if name not in _SETTINGS]:
            known = ', '.join(_SETTINGS)
            raise UserError(f'init_cfg has unknown {", ".join(unknown)}; known are {known}')
        if entry.get('checkpoint') is not None:
            _load(vim, read_vim(str(entry['checkpoint']), entry.get('prefix'), entry.get('key')))


def _names_a_file(entry: Mapping[str, Any]) -> bool:
    return entry.get('type', 'Pretrained') in ('Pretrained', PretrainedInit)


def _load(vim: nn.Module, stored: StoredWeights) -> None:
    named = re.search(r'_stride(\d+)_', stored.model_name or '')
    stride = vim.patch_embed.proj.stride[0]
    if named and int(named[1]) != stride:
        print_log(
            f'{stored.source} is of {stored.model_name}, with a stride of {named[1]}; this Vim has '
            f'stride={stride}',
            logger='current',
            level=logging.WARNING,
        )
    weights = _fitted(vim, stored.tensors, stored.source)
    try:
        load_strictly(vim, weights, stored.source, ignore_prefixes=BESIDE_THE_BACKBONE)
    except UserError as error:
        if not stored.model_name:
            raise
        raise UserError(f'{error} (its training named it {stored.model_name})') from error


def _fitted(
    vim: nn.Module, tensors: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    positions = tensors.get('pos_embed')
    if positions is None or positions.ndim != 3:
        return dict(tensors)
    return {**tensors, 'pos_embed': vim._fitting(positions, source)}


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
    return body | _linear_head(heads, source)


def _linear_head(heads: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    weights = [n for n, t in heads.items() if n.endswith('.weight') and t.ndim == 2]
    stem = weights[0].removesuffix('weight') if weights else ''
    if not weights or heads.keys() - {f'{stem}weight', f'{stem}bias'}:
        if heads:
            print_log(f'{source}: left aside: {", ".join(heads)}', logger='current')
        return {}
    weight = heads[f'{stem}weight']
    # Zeros do what no bias does.
    bias = heads.get(f'{stem}bias', torch.zeros(len(weight), dtype=weight.dtype))
    return {'head.weight': weight, 'head.bias': bias}


def rename_for_classifier(
    state_dict: dict[str, torch.Tensor], prefix: str, local_metadata: dict, *_: Any
) -> None:
    """Give what was read from a file the names that it has in an mmpretrain classifier.

    mmpretrain's classifiers call it as the filter of their backbone before they load.

    Args:
        state_dict: of a file of Vim's or of a classifier; changed in place.
        prefix: of the classifier's names in it.
        local_metadata: says whether it was read from a file.
    """
    source = source_of(local_metadata)
    if source is None or prefix or any(name.endswith(ADAPTER_HEADER) for name in state_dict):
        return
    named = under_names(state_dict, ANCHORS, source)
    if not any(name in named for name in ANCHORS):
        return
    heads = {n: t for n, t in named.items() if n.startswith(HEADS)}
    if not all(name.startswith('head.') and name.count('.') > 1 for name in heads):
        heads = _linear_head(heads, source)
        heads = {name.replace('head.', 'head.fc.'): tensor for name, tensor in heads.items()}
    neck = {n: t for n, t in named.items() if n.startswith('neck.')}
    body = {n: t for n, t in named.items() if not n.startswith(BESIDE_THE_BACKBONE)}
    state_dict.clear()
    state_dict.update({**{f'backbone.{n}': t for n, t in body.items()}, **neck, **heads})


def fit_files(
    vim: nn.Module, state_dict: dict[str, torch.Tensor], prefix: str, local_metadata: dict, *_: Any
) -> None:
    """Be strict before what was read from a file is loaded by mmengine, which would not be.

    Args:
        vim: a hook of which this is.
        state_dict: changed in place: a position embedding of another size is interpolated.
        prefix: of the names of ``vim`` in it.
        local_metadata: says whether it was read from a file.

    Raises:
        UserError: the weights do not fit.
    """
    source = source_of(local_metadata)
    if source is None:
        return
    if not prefix:  # nothing but this backbone is loaded
        named = under_names(state_dict, ANCHORS, source)
        state_dict.clear()
        state_dict.update(named)
    own = {k.removeprefix(prefix): t for k, t in state_dict.items() if k.startswith(prefix)}
    own = _fitted(vim, own, source)
    state_dict.update({f'{prefix}{name}': tensor for name, tensor in own.items()})
    check_fit(vim, own, source, ignore_prefixes=BESIDE_THE_BACKBONE)
