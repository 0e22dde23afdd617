"""Removal of the prefixes that training scripts and wrappers put before names of tensors."""

import re
from collections.abc import Collection, Iterable, Mapping

import torch

from memba_vision.errors import UserError

#: The entry of a state dict in which an adapted backbone describes its adapters.
ADAPTER_HEADER = 'peft_header'
#: Prefixes of the names of heads.
HEADS = ('head.', 'heads.', 'head_dist.', 'fc.', 'classifier.')
#: Prefixes of the names of a model's parts beside its backbone.
BESIDE_THE_BACKBONE = (*HEADS, 'neck.')
# Parts that torch's compiler and wrappers put anywhere into a name.
_TRANSPARENT = ('_orig_mod.', '_fsdp_wrapped_module.', '_checkpoint_wrapped_module.')
_COUNTERS = ('n_averaged', 'steps')  # of averaged models, beside their "module."


def are_of_adapters(names: Iterable[str]) -> bool:
    """Return True for the names in a checkpoint or a file of adapters, which have no backbone."""
    return any(n.endswith(ADAPTER_HEADER) or n.startswith('backbone.module.') for n in names)


def without_wrappers(tensors: Mapping[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
    """Remove the parts that torch's compiler and wrappers put into names of tensors.

    Raises:
        UserError: two names become one.
    """
    names = {name: name for name in tensors}
    for part in _TRANSPARENT:
        names = {name: plain.replace(part, '') for name, plain in names.items()}
    return _renamed(tensors, names, source)


def under_names(
    tensors: Mapping[str, torch.Tensor], wanted: Collection[str], source: str
) -> dict[str, torch.Tensor]:
    """Remove the prefix that all names share, if some of ``wanted`` are found then.

    Heads may stand beside the prefix, as in the checkpoint of a classifier.

    Args:
        tensors: by name.
        wanted: names of a model. Names stay if one is present already, or none is found.
        source: their origin, for the error's text.

    Raises:
        UserError: two names become one.
    """
    found = dict(tensors)
    while not any(name in found for name in wanted):
        prefix = _shared_prefix(found)
        if not prefix:
            return dict(tensors)
        found = {name: tensor for name, tensor in found.items() if name not in _COUNTERS}
        found = _renamed(found, {name: name.removeprefix(prefix) for name in found}, source)
    return found


def replace_in_names(
    tensors: Mapping[str, torch.Tensor], patterns: Iterable[tuple[str, str]]
) -> dict[str, torch.Tensor]:
    """Return the tensors with each pattern in their names replaced, one after the other."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    return found


def with_prefix(
    tensors: Mapping[str, torch.Tensor], prefix: str, source: str
) -> dict[str, torch.Tensor]:
    """Return the tensors whose names start with ``prefix`` (its last dot is optional), without it.

    Raises:
        UserError: there are none; the message lists the prefixes that there are.
    """
    prefix = f'{prefix.rstrip(".")}.'
    found = dict(tensors)
    while found:
        chosen = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        if chosen:
            return chosen
        shared = _shared_prefix(found)
        found = {k.removeprefix(shared): v for k, v in found.items()} if shared else {}
    raise UserError(
        f'{source} has no weights whose names start with {prefix!r}; they start with '
        f'{_listed(first_parts(tensors))}: choose another prefix, or leave it out'
    )


def first_parts(names: Iterable[str]) -> list[str]:
    """Return the first parts of names, each once, with the dot behind them if there is one."""
    return list(dict.fromkeys(name.split('.')[0] + '.' * ('.' in name) for name in names))


def matching_prefixes(given: Collection[str], own: Collection[str]) -> list[str]:
    """Return the prefixes (not '') behind which ``given`` holds nearly all names ``own``."""
    anchor = max(own, key=len, default='')
    prefixes = [name.removesuffix(anchor) for name in given if name.endswith(f'.{anchor}')]
    return [p for p in prefixes if sum(p + name in given for name in own) > 0.9 * len(own)]


def _shared_prefix(names: Iterable[str]) -> str:
    inner = [n for n in names if not n.startswith(BESIDE_THE_BACKBONE) and n not in _COUNTERS]
    found = first_parts(inner)
    return found[0] if len(found) == 1 and found[0].endswith('.') else ''


def _renamed(
    tensors: Mapping[str, torch.Tensor], names: Mapping[str, str], source: str
) -> dict[str, torch.Tensor]:
    origins: dict[str, str] = {}
    for name in tensors:
        other = origins.setdefault(names[name], name)
        if other != name:
            raise UserError(
                f'{source} holds both {other} and {name}, which would be one: choose one with '
                f'prefix={other.removesuffix(names[name])!r} or {name.removesuffix(names[name])!r}'
            )
    return {names[name]: tensor for name, tensor in tensors.items()}


def _listed(names: list[str], most: int = 8) -> str:
    more = f' and {len(names) - most} others' if len(names) > most else ''
    return ', '.join(repr(name) for name in names[:most]) + more
