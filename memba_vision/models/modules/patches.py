"""The grid of an image's patches, and the tokens that stand among them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.errors import UserError

Size = tuple[int, int]  #: height and width, or rows and columns


def to_pair(size: int | Sequence[int], name: str) -> Size:
    """Return height and width of a size that may be one number for both.

    Raises:
        UserError: the size is neither one number nor two.
    """
    pair = (size, size) if isinstance(size, int) else size
    is_pair = isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2
    if not is_pair or not all(type(side) is int and side > 0 for side in pair):
        raise UserError(
            f'{name} must be a positive whole number, or two: height and width, got {size!r}'
        )
    return tuple(pair)


def innermost(layer: nn.Module) -> nn.Module:
    """Return the layer inside the adapters that are around it, itself where there are none."""
    while hasattr(layer, 'base_layer'):
        layer = layer.base_layer
    return layer


def input_size(backbone: nn.Module) -> Size:
    """Return height and width of the images that a backbone was built for."""
    size = getattr(backbone, 'img_size', None)
    return to_pair(size or backbone.patch_embed.init_input_size, 'img_size')


def put_in_middle(patches: torch.Tensor, cls_token: torch.Tensor) -> torch.Tensor:
    """Put (batch, 1, embed_dims) in the middle of (batch, patches, embed_dims)."""
    middle = patches.shape[1] // 2
    return torch.cat([patches[:, :middle], cls_token, patches[:, middle:]], dim=1)


def take_from_middle(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return patches and class token: the inverse of :func:`put_in_middle`."""
    middle = (tokens.shape[1] - 1) // 2
    patches = torch.cat([tokens[:, :middle], tokens[:, middle + 1 :]], dim=1)
    return patches, tokens[:, middle : middle + 1]


def spread_evenly(patches: torch.Tensor, registers: torch.Tensor) -> torch.Tensor:
    """Put (batch, n, embed_dims) among (batch, patches, embed_dims), at even distances.

    Before each of the n registers are ``patches // (n + 1)`` patches, and the rest at the end.
    """
    count = registers.shape[1]
    step = patches.shape[1] // (count + 1)
    before = patches[:, : step * count].unflatten(1, (count, step))
    mixed = torch.cat([before, registers[:, :, None]], dim=2).flatten(1, 2)
    return torch.cat([mixed, patches[:, step * count :]], dim=1)


def take_apart(tokens: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return patches and registers: the inverse of :func:`spread_evenly`."""
    step = (tokens.shape[1] - count) // (count + 1)
    mixed, rest = tokens.tensor_split([(step + 1) * count], dim=1)
    mixed = mixed.unflatten(1, (count, step + 1))
    return torch.cat([mixed[:, :, :-1].flatten(1, 2), rest], dim=1), mixed[:, :, -1]


def resize_pos_embed(
    pos_embed: torch.Tensor,
    grid_size: int | Size,
    old_grid: Size | None = None,
    has_cls_token: bool = True,
) -> torch.Tensor:
    """Interpolate a position embedding around its middle class token, bicubically.

    The authors' script for fine-tuning takes the class token for the first of them where it
    interpolates, and starts from other values.

    Args:
        pos_embed: (1, old_rows * old_columns + 1, embed_dims), the class token's at the middle.
        grid_size: rows and columns of the new grid; one number stands for both.
        old_grid: rows and columns of the old grid. None takes it for a square or, if it has as many
            patches as the new grid, for the same.
        has_cls_token: False if the class token, and the 1 above, are missing.

    Returns:
        (1, rows * columns + 1, embed_dims).
    """
    new_grid = to_pair(grid_size, 'grid_size')
    old_grid = old_grid or _guess_grid(pos_embed.shape[1] - has_cls_token, new_grid)
    if old_grid is None or old_grid == new_grid:
        return pos_embed
    patches, cls_token = take_from_middle(pos_embed) if has_cls_token else (pos_embed, None)
    grid = patches.unflatten(1, old_grid).permute(0, 3, 1, 2)
    grid = F.interpolate(grid.float(), size=new_grid, mode='bicubic')
    patches = grid.flatten(2).transpose(1, 2).to(pos_embed.dtype)
    return patches if cls_token is None else put_in_middle(patches, cls_token)


def _guess_grid(num_patches: int, new_grid: Size) -> Size | None:
    if num_patches == new_grid[0] * new_grid[1]:
        return new_grid
    side = round(max(num_patches, 0) ** 0.5)
    return (side, side) if side and side**2 == num_patches else None
