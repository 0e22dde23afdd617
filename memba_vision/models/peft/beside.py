"""Modules before, beside and behind parts of a backbone, which add to the residual stream.

They are children of these parts, and hooks call them: the backbone's own modules stay under their
paths, where other adapters find them.
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.block_parts import PatchTokens
from memba_vision.models.modules.patches import Size
from memba_vision.models.sites import Sites


def add_before(backbone: nn.Module, path: str, name: str, update: nn.Module) -> None:
    """Add what ``update`` makes of the input of the part at ``path`` to that input.

    Args:
        backbone: the backbone.
        path: the part, called with (batch, tokens, width) first.
        name: the child of the part that ``update`` becomes, named after its adapter.
        update: called as the part is, yields (batch, tokens, width).

    Raises:
        UserError: the part has a child of that name already.
    """
    part = put_child(backbone, path, name, update)
    part.register_forward_pre_hook(partial(_before, name))


def add_beside(backbone: nn.Module, path: str, name: str, update: nn.Module) -> None:
    """Add what ``update`` makes of the input of a part to its output; see :func:`add_before`."""
    part = put_child(backbone, path, name, update)
    part.register_forward_hook(partial(_beside, name))


def add_behind(backbone: nn.Module, path: str, name: str, update: nn.Module) -> None:
    """Add what ``update`` makes of the output of a part to that output; see :func:`add_before`."""
    part = put_child(backbone, path, name, update)
    part.register_forward_hook(partial(_behind, name))


def put_child(backbone: nn.Module, path: str, name: str, child: nn.Module) -> nn.Module:
    """Give the part at ``path`` a child, and return the part.

    Raises:
        UserError: it has one of that name already.
    """
    part = backbone.get_submodule(path)
    if hasattr(part, name):
        raise UserError(f'{path} has "{name}" already: use one adapter of that kind alone')
    part.add_module(name, child)
    return part


# The hooks hold names, not modules, so that a copy of the backbone has its own.


def _before(name: str, part: nn.Module, inputs: tuple) -> tuple:
    hidden, *call = inputs
    return hidden + getattr(part, name)(hidden, *call), *call


def _beside(name: str, part: nn.Module, inputs: tuple, output: Any) -> Any:
    return with_first(output, first_of(output) + getattr(part, name)(*inputs))


def _behind(name: str, part: nn.Module, inputs: tuple, output: Any) -> Any:
    hidden = first_of(output)
    return with_first(output, hidden + getattr(part, name)(hidden, *inputs[1:]))


def first_of(output: Any) -> torch.Tensor:
    """Return the sequence that a part yields, alone or with a state behind it."""
    return output[0] if isinstance(output, tuple) else output


def with_first(output: Any, hidden: torch.Tensor) -> Any:
    """Return the output of a part with another sequence."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def fix_grid(backbone: nn.Module, sites: Sites) -> None:
    """Have the backbone refuse images whose patches are another grid than its sites say.

    Sequences of other grids may be as long: the patches would be taken for others without a word.
    Such images raise a UserError when they come.

    Args:
        backbone: the backbone.
        sites: its places.
    """
    grids = {part.patches.grid for part in sites.parts() if part.patches} - {None}
    if grids and sites.embed:
        embed = backbone.get_submodule(sites.embed.module)
        embed.register_forward_hook(partial(_check_grid, grids.pop()))


def _check_grid(grid: Size, embed: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
    found = tuple(output.shape[-2:])
    if found != grid:
        raise UserError(
            f'an adapter here knows images of {grid[0]} x {grid[1]} patches, and got one of '
            f'{found[0]} x {found[1]}: resize the images (in the pipelines: scale of Resize), or '
            'set img_size of the backbone'
        )


def on_maps(
    patches: PatchTokens, tokens: torch.Tensor, grid: Size, convolve: nn.Module
) -> torch.Tensor:
    """Apply convolutions to the patches as a map, and to every other token as a map of one place.

    Args:
        patches: the places of the patches.
        tokens: (batch, tokens, channels).
        grid: rows and columns of the patches.
        convolve: maps (batch, channels, rows, columns) to the same shape.
    """
    sequence, others = patches.take_apart(tokens)
    maps = convolve(sequence.transpose(1, 2).unflatten(2, grid))
    if patches.others:
        single = convolve(others.flatten(0, 1)[:, :, None, None])
        others = single[:, :, 0, 0].unflatten(0, others.shape[:2])
    return patches.put_together(maps.flatten(2).transpose(1, 2), others)
