"""Search for the weights in the files of training scripts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import print_log

from memba_vision.errors import UserError
from memba_vision.weights.names import with_prefix, without_wrappers
from memba_vision.weights.reading import read_checkpoint

# The keys under which weights are kept, the first in a file being taken; averaged ones come last,
# since the authors of Vim, too, load 'model' where 'model_ema' is beside it.
_CONTAINERS = (
    *('state_dict', 'model', 'model_state_dict', 'module', 'net', 'network', 'backbone'),
    *('weights', 'params', 'checkpoint'),
    *('model_ema', 'state_dict_ema', 'ema_state_dict', 'ema', 'params_ema'),
)


@dataclass(frozen=True)
class StoredWeights:
    """Weights of a file.

    Args:
        tensors: by name, in the dtypes of the file.
        source: the location that they were read from.
        model_name: the name that the training script had for the model; None where the file has
            none.
        classes: the names of the classes that it was trained on, where mmengine recorded them.
    """

    tensors: dict[str, torch.Tensor]
    source: str
    model_name: str | None = None
    classes: tuple[str, ...] = ()


def read_weights(location: str, prefix: str | None = None, key: str | None = None) -> StoredWeights:
    """Read a file's weights, out of the dicts that training scripts wrap them in.

    Args:
        location: see :func:`memba_vision.weights.resolve`.
        prefix: keep the names that start with it, without it (``'backbone.'`` for a checkpoint of
            an mmpretrain classifier); its dot may be left out.
        key: the dict to take where a file has several: ``'model_ema'``, or ``'a.b'`` for one in
            another. None takes the first of 'state_dict', 'model', … that is there.

    Raises:
        UserError: the file cannot be read or holds no such weights.
    """
    content = read_checkpoint(location)
    tensors = without_wrappers(find_weights(content, location, key), location)
    if prefix:
        tensors = with_prefix(tensors, prefix, location)
    return StoredWeights(tensors, location, _model_name(content), _classes(content))


def read_state_dict(
    location: str, prefix: str | None = None, key: str | None = None
) -> dict[str, torch.Tensor]:
    """Return the tensors of :func:`read_weights` by name."""
    return read_weights(location, prefix, key).tensors


def find_weights(
    content: Mapping[str, Any], source: str, key: str | None = None
) -> dict[str, torch.Tensor]:
    """Return the tensors in a file's content; the log names further sets if there are several.

    Args:
        content: see :func:`memba_vision.weights.read_checkpoint`.
        source: its origin, for messages.
        key: see :func:`read_weights`.

    Raises:
        UserError: there are none, or none under ``key``.
    """
    found = _candidates(content, _CONTAINERS)
    if key is not None:
        found = _candidates(content, None) | found
        chosen = [name for name in found if f'{name}.'.startswith(f'{key}.')]
        if len(chosen) != 1:
            raise UserError(f'{source} has no weights under {key!r}{_choice(found)}')
        return _tensors(found[chosen[0]])
    if not found:
        raise UserError(f'{source} holds no tensors{_choice(_candidates(content, None))}')
    (taken, chosen), *others = found.items()
    if others:
        others = ' or '.join(repr(name) for name, _ in others)
        print_log(
            f'{source}: {taken!r} is taken; key=… beside the checkpoint chooses {others}',
            logger='current',
        )
    return _tensors(chosen)


def _candidates(
    content: Mapping[str, Any], names: tuple[str, ...] | None, path: str = ''
) -> dict[str, Mapping[str, Any]]:
    """Return the innermost dicts of tensors below ``names`` (None: all), by dotted path."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in content if names is None else names:
        inner = content.get(name)
        if isinstance(inner, Mapping):
            found |= _candidates(inner, names, f'{path}.{name}' if path else str(name))
    return found or ({path: content} if _tensors(content) else {})


def _tensors(content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}


def _choice(found: Mapping[str, Any]) -> str:
    names = [repr(name) for name in found if name]
    return (
        f'; there are some under {", ".join(names)}: choose with key=… beside the checkpoint'
        if names
        else ''
    )


def _model_name(content: Mapping[str, Any]) -> str | None:
    name = getattr(content.get('args'), 'model', None)
    return name if isinstance(name, str) else None


def _classes(content: Mapping[str, Any]) -> tuple[str, ...]:
    found: Any = content
    for name in ('meta', 'dataset_meta', 'classes'):
        found = found.get(name) if isinstance(found, Mapping) else None
    return tuple(str(name) for name in found) if isinstance(found, list | tuple) else ()
