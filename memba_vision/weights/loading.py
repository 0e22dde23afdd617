"""Strict loading of weights, and fingerprints of them."""

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from memba_vision.errors import UserError
from memba_vision.weights.names import (
    BESIDE_THE_BACKBONE,
    are_of_adapters,
    matching_prefixes,
    under_names,
)

MOST_NAMED = 8  # groups of names in a message
#: Last parts of the names of tensors whose shapes follow the size of the images.
OF_IMAGE_SIZE = (
    *('pos_embed', 'relative_position_bias_table', 'relative_position_index'),
    *('relative_coords_table', 'attn_mask'),
)
_NUMBER = re.compile(r'(?<=\.)\d+(?=\.)')


def load_strictly(
    module: nn.Module,
    state_dict: Mapping[str, torch.Tensor],
    source: str,
    ignore_prefixes: tuple[str, ...] = (),
) -> None:
    """Copy ``state_dict`` into ``module``; every name on either side must find its like.

    A prefix that all names share is taken off. Floating types are converted to those of the
    module.

    Args:
        module: receives the tensors.
        state_dict: tensors by name.
        source: their origin, for the error's text.
        ignore_prefixes: names that start with one of these may be left over.

    Raises:
        UserError: see :func:`check_fit`; nothing is loaded then.
    """
    own = [name for name in module.state_dict() if not name.startswith(BESIDE_THE_BACKBONE)]
    given = under_names(state_dict, own, source)
    module.load_state_dict(check_fit(module, given, source, ignore_prefixes), strict=True)


def load_through_hooks(
    module: nn.Module,
    state_dict: Mapping[str, torch.Tensor],
    source: str,
    ignore_prefixes: tuple[str, ...] = (),
) -> None:
    """Copy ``state_dict`` into a module whose own hooks rename and resize tensors first.

    A prefix that all names share is taken off, as :func:`load_strictly` does.

    Args:
        module: receives the tensors.
        state_dict: tensors by name.
        source: the file, for the error's text.
        ignore_prefixes: names that start with one of these may be left over.

    Raises:
        UserError: names are missing or left over, or tensors are misshapen or not finite.
    """
    check_finite(state_dict, source)
    given = under_names(state_dict, list(module.state_dict()), source)
    try:
        found = module.load_state_dict(given, strict=False)
        problems = _group_names('missing', found.missing_keys)
        ignored = ignore_prefixes or ('\0',)
        left_over = [name for name in found.unexpected_keys if not name.startswith(ignored)]
        problems += _group_names('unexpected', left_over)
    except RuntimeError as error:  # of another shape
        problems = [' '.join(str(error).split())]
    if problems:
        raise UserError(
            f'{source} does not fit {type(module).__name__}: '
            f'{_reason(given, module.state_dict())}{"; ".join(problems)}'
        )


def check_fit(
    module: nn.Module,
    given: Mapping[str, torch.Tensor],
    source: str,
    ignore_prefixes: tuple[str, ...] = (),
) -> dict[str, torch.Tensor]:
    """Compare tensors with those of ``module``, whose own may be on the meta device.

    Args:
        module: the module to load them into.
        given: tensors by name.
        source: their origin, for the error's text.
        ignore_prefixes: names that start with one of these may be left over.

    Returns:
        The tensors of ``given`` that belong to ``module``.

    Raises:
        UserError: names are missing or left over, or tensors are misshapen, of another kind of
            numbers, or not finite. Names that differ in a number count as one; the first few are
            told, and how many there are.
    """
    own = module.state_dict()
    ignored = ignore_prefixes or ('\0',)
    given = {k: v for k, v in given.items() if k in own or not k.startswith(ignored)}
    problems = _group_names('missing', [name for name in own if name not in given])
    problems += _group_names('unexpected', [name for name in given if name not in own])
    both = {name: (given[name], own[name]) for name in own if name in given}
    misshapen = [
        f'{name} is {tuple(found.shape)}, expected {tuple(expected.shape)}'
        for name, (found, expected) in both.items()
        if found.shape != expected.shape
    ]
    problems += misshapen[:MOST_NAMED]
    if len(misshapen) > MOST_NAMED:
        problems.append(f'{len(misshapen)} of another shape')
    if problems:
        raise UserError(
            f'{source} does not fit {type(module).__name__}: {_reason(given, own)}'
            f'{"; ".join(problems)}. Choose the arch, patch_size, stride and in_channels that the '
            'checkpoint was made with'
        )
    _check_numbers(both, source)
    return given


def _check_numbers(both: Mapping[str, tuple[torch.Tensor, torch.Tensor]], source: str) -> None:
    dtypes = {found.dtype for found, expected in both.values() if expected.is_floating_point()}
    if others := {dtype for dtype in dtypes if not dtype.is_floating_point}:
        raise UserError(
            f'{source} holds weights in {_dtype_names(others)}, which are no floating numbers: '
            'give the weights from before they were quantised'
        )
    check_finite({name: found for name, (found, _) in both.items()}, source)
    own = {e.dtype for _, e in both.values()}
    if dtypes - own:
        print_log(
            f'{source}: weights in {_dtype_names(dtypes - own)} are converted to '
            f'{_dtype_names({dtype for dtype in own if dtype.is_floating_point})}',
            logger='current',
            level=logging.INFO,
        )


def check_finite(tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Check that all values are finite.

    Raises:
        UserError: some are infinite or NaN; the tensors are named.
    """
    # Types of 8 bits have no isfinite of their own.
    wrong = [n for n, t in tensors.items() if not bool(torch.isfinite(_at_least_half(t)).all())]
    if wrong:
        named = '; '.join(_group_names('', wrong))
        raise UserError(f'{source}: not finite: {named}: get the file again, or an earlier one')


def _at_least_half(tensor: torch.Tensor) -> torch.Tensor:
    narrow = tensor.is_floating_point() and tensor.element_size() < 2
    return tensor.float() if narrow else tensor


def _dtype_names(dtypes: Iterable[torch.dtype]) -> str:
    return ' and '.join(sorted(str(dtype).removeprefix('torch.') for dtype in dtypes))


def _group_names(problem: str, names: list[str]) -> list[str]:
    """Group names that differ in a number alone, as in 'missing layers.{0-23}.mixer.D'."""
    groups: dict[str, list[int]] = {}
    for name in names:
        numbers = _NUMBER.findall(name)
        pattern = _NUMBER.sub('*', name, count=1)
        groups.setdefault(pattern, []).extend(int(number) for number in numbers[:1])
    listed = [
        f'{problem} {pattern.replace("*", _ranges(numbers), 1)}'.strip()
        for pattern, numbers in groups.items()
    ]
    if len(listed) > MOST_NAMED:
        rest = len(listed) - MOST_NAMED
        return [*listed[:MOST_NAMED], f'{rest} others, {len(names)} names {problem}'.strip()]
    return listed


def _ranges(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f'{run[0]}-{run[-1]}' if len(run) > 1 else str(run[0]) for run in runs]
    return f'{{{",".join(parts)}}}'


def _reason(given: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str:
    if are_of_adapters(given):
        return (
            'it holds adapters alone (name the model with their method, load the run with '
            'memba_vision.load_trained, or fold them into weights with tools/export.py --as '
            'merged); '
        )
    prefixes = [repr(prefix) for prefix in matching_prefixes(given.keys(), own.keys())]
    if prefixes:
        found = ' or '.join(prefixes)
        return f'its names fit behind {found} (choose with prefix=… beside the checkpoint); '
    return ''


def rounded_fingerprint(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return a fingerprint that is the same in bfloat16, and for images of another size.

    Returns:
        ``digest``: the :func:`fingerprint` of the weights, rounded to bfloat16, but for those whose
        shapes follow the size of the images; ``form``: the dtypes, and the shapes of those.
    """
    sized = {name: w for name, w in weights.items() if name.rpartition('.')[2] in OF_IMAGE_SIZE}
    others = {name: weight for name, weight in weights.items() if name not in sized}
    floating = [name for name, weight in others.items() if weight.is_floating_point()]
    rounded = others | {name: others[name].detach().bfloat16() for name in floating}
    dtypes = sorted({str(weight.dtype) for weight in weights.values()})
    shapes = {name: list(weight.shape) for name, weight in sorted(sized.items())}
    return {'digest': fingerprint(rounded), 'form': [dtypes, shapes]}


def fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 over names, dtypes, shapes and bytes of all ``weights``, in hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
