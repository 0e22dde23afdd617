"""Official files of weights: into a backbone or a classifier, strictly, and told apart by shapes.

A backbone that loads them has ``anchors``, names that are in every file of its family and tell what
stands before all names of one, and ``fitted(tensors, source)``, which yields a file's weights under
the backbone's own names and in its own shapes.
"""

from collections.abc import Callable, Collection, Mapping
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

_SETTINGS = ('type', 'checkpoint', 'prefix', 'key', 'map_location')
Loader = Callable[[str, str | None, str | None], None]


def initialize_backbone(backbone: nn.Module, load: Loader) -> None:
    """Do as ``backbone.init_cfg`` says: mmengine's initializers first, a file of weights last.

    Args:
        backbone: its ``init_cfg`` is None, a dict or a list of dicts. ``type='Pretrained'`` has
            ``checkpoint``, ``prefix`` and ``key`` (see
            :func:`memba_vision.weights.read_weights`).
        load: loads a file, given these three.

    Raises:
        UserError: an entry is none of these, or the weights do not fit.
    """
    given = backbone.init_cfg or []
    entries = [given] if isinstance(given, Mapping) else given
    if not isinstance(entries, list | tuple) or not all(isinstance(e, Mapping) for e in entries):
        raise UserError(f'init_cfg is a dict or a list of dicts, got {given!r}')
    files = [entry for entry in entries if _names_a_file(entry)]
    others = [dict(entry) for entry in entries if not _names_a_file(entry)]
    try:
        if others:
            initialize(backbone, others)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f'init_cfg {given}: {" ".join(str(error).split())}') from error
    for entry in files:
        if unknown := [name for name in entry if name not in _SETTINGS]:
            known = ', '.join(_SETTINGS)
            raise UserError(f'init_cfg has unknown {", ".join(unknown)}; known are {known}')
        if entry.get('checkpoint') is not None:
            load(str(entry['checkpoint']), entry.get('prefix'), entry.get('key'))


def _names_a_file(entry: Mapping[str, Any]) -> bool:
    return entry.get('type', 'Pretrained') in ('Pretrained', PretrainedInit)


def load_official(
    backbone: nn.Module, location: str, prefix: str | None = None, key: str | None = None
) -> None:
    """Load a file into a backbone, heads aside; see :func:`memba_vision.weights.read_weights`.

    Raises:
        UserError: the file cannot be read, or its weights do not fit.
    """
    load_stored(backbone, read_weights(location, prefix, key))


def load_stored(backbone: nn.Module, stored: StoredWeights) -> None:
    """Load what a file holds into a backbone, heads aside.

    Raises:
        UserError: the weights do not fit.
    """
    named = under_names(stored.tensors, backbone.anchors, stored.source)
    weights = backbone.fitted(named, stored.source)
    try:
        load_strictly(backbone, weights, stored.source, ignore_prefixes=BESIDE_THE_BACKBONE)
    except UserError as error:
        if not stored.model_name:
            raise
        raise UserError(f'{error} (its training named it {stored.model_name})') from error


def linear_head(heads: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Return a head that is one linear layer as 'head', and nothing for any other."""
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
    family: type[nn.Module],
    state_dict: dict[str, torch.Tensor],
    prefix: str,
    local_metadata: dict,
    *_: Any,
) -> None:
    """Give what was read from a file the names that it has in an mmpretrain classifier.

    mmpretrain's classifiers call it as the filter of their backbone before they load.

    Args:
        family: the class of the classifier's backbone.
        state_dict: of an official file or of a classifier; changed in place.
        prefix: of the classifier's names in it.
        local_metadata: says whether it was read from a file.
    """
    source = source_of(local_metadata)
    if source is None or prefix or any(name.endswith(ADAPTER_HEADER) for name in state_dict):
        return
    named = under_names(state_dict, family.anchors, source)
    if not any(name in named for name in family.anchors):
        return
    heads = {n: t for n, t in named.items() if n.startswith(HEADS)}
    if not all(name.startswith('head.') and name.count('.') > 1 for name in heads):
        heads = linear_head(heads, source)
        heads = {name.replace('head.', 'head.fc.'): tensor for name, tensor in heads.items()}
    beside = {n for n in named if n.startswith(BESIDE_THE_BACKBONE)} - set(family.anchors)
    body = {n: t for n, t in named.items() if n not in beside}
    neck = {n: t for n, t in named.items() if n in beside and n.startswith('neck.')}
    state_dict.clear()
    state_dict.update({**{f'backbone.{n}': t for n, t in body.items()}, **neck, **heads})


def fit_files(
    backbone: nn.Module,
    state_dict: dict[str, torch.Tensor],
    prefix: str,
    local_metadata: dict,
    *_: Any,
) -> None:
    """Be strict before what was read from a file is loaded by mmengine, which would not be.

    Args:
        backbone: a hook of which this is.
        state_dict: changed in place, to the names and shapes of the backbone.
        prefix: of the names of ``backbone`` in it.
        local_metadata: says whether it was read from a file.

    Raises:
        UserError: the weights do not fit.
    """
    source = source_of(local_metadata)
    if source is None:
        return
    if not prefix:  # nothing but this backbone is loaded
        named = under_names(state_dict, backbone.anchors, source)
        state_dict.clear()
        state_dict.update(named)
    own = {k.removeprefix(prefix): t for k, t in state_dict.items() if k.startswith(prefix)}
    own = backbone.fitted(own, source)
    state_dict.update({f'{prefix}{name}': tensor for name, tensor in own.items()})
    check_fit(backbone, own, source, ignore_prefixes=BESIDE_THE_BACKBONE)


def count_blocks(names: Collection[str], prefix: str) -> int:
    """Return how many numbers follow ``prefix`` in names such as 'layers.3.norm.weight'."""
    rests = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return len({rest.partition('.')[0] for rest in rests})


def check_arch(
    family: str,
    found: Mapping[str, Any],
    own: Mapping[str, Any],
    archs: Mapping[str, Mapping[str, Any]],
    source: str,
) -> None:
    """Compare the arch that a file is of with that of a backbone.

    Args:
        family: the class of the backbone.
        found: settings of an arch, read from the shapes in the file.
        own: the settings of the backbone.
        archs: the settings of the archs that have names; more than ``found`` may be there.
        source: the file, for the error's text.

    Raises:
        UserError: it is of another arch, which is named.
    """
    if any(own[name] != setting for name, setting in found.items()):
        held, wanted = (_spelled(settings, archs) for settings in (found, own))
        raise UserError(
            f'{source} is of the {family} with arch={held}, and this one has arch={wanted}: set '
            f'arch={held}, or get the other file'
        )


def _spelled(settings: Mapping[str, Any], archs: Mapping[str, Mapping[str, Any]]) -> str:
    for name, known in archs.items():
        if all(known.get(key) == value for key, value in settings.items()):
            return repr(name)
    return f'dict({", ".join(f"{key}={value!r}" for key, value in settings.items())})'
