"""Places on the image of a sequence of tokens in scan order."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.patches import (
    Size,
    innermost,
    input_size,
    take_from_middle,
    to_pair,
)
from memba_vision.models.sites import sites_of

FORWARD, BACKWARD = 0, 1
#: Attributes of a backbone that define the places of its tokens on the image.
NEEDS = ('pos_embed', 'grid_size', 'patch_embed')


@dataclass(frozen=True)
class TokenGrid:
    """Places of a sequence's tokens on the image.

    Attributes:
        length: tokens of the sequence, all kinds.
        patches: position in the sequence of each patch, (rows, columns), in image order.
        extent: edges of the grid on the image in pixels: left, right, bottom, top. Where patches
            overlap, each has the cell around its middle.
    """

    length: int
    patches: torch.Tensor
    extent: tuple[float, float, float, float]

    def to_maps(self, sequences: torch.Tensor) -> torch.Tensor:
        """Put every patch at its place; the class token and prompts are left out.

        Args:
            sequences: (2, length), forward and backward, each in scan order.

        Returns:
            (2, rows, columns).
        """
        return to_image_order(sequences)[:, self.patches]

    def chunk_maps(self, num_chunks: int) -> torch.Tensor:
        """Return the number of each patch's chunk, from 1, (2, rows, columns)."""
        chunk = chunk_size(self.length, num_chunks)
        numbers = torch.arange(self.length) // chunk + 1
        return self.to_maps(numbers.expand(2, -1))

    def chunk_rows(self, sequences: torch.Tensor, num_chunks: int) -> torch.Tensor:
        """Cut the sequences into chunks, a row each: u[1] to u[T].

        Returns:
            (2, num_chunks, chunk) in scan order; NaN at the end where the sequence stops before
            the last chunk does, and for every token that is no patch.
        """
        chunk = chunk_size(self.length, num_chunks)
        rows = torch.full((2, num_chunks * chunk), torch.nan)
        is_patch = torch.zeros(2, self.length, dtype=torch.bool)
        is_patch[:, self.patches.flatten()] = True
        rows[:, : self.length] = sequences.where(to_image_order(is_patch), torch.nan)
        return rows.unflatten(1, (num_chunks, chunk))


def token_grid(backbone: nn.Module) -> TokenGrid:
    """Return where the patches of a backbone are among its other tokens and prompts, if any.

    Raises:
        UserError: the backbone does not define their places on the image.
    """
    lacking = [name for name in NEEDS if not hasattr(backbone, name)]
    if lacking:
        raise UserError(
            f'{type(backbone).__name__} has no {", ".join(lacking)}, so that its tokens cannot be '
            'put on the image'
        )
    positions = backbone.pos_embed
    length = getattr(backbone, 'num_tokens', positions.shape[1])
    tokens = torch.arange(length)[None, :, None]
    slot = sites_of(backbone).tokens
    if slot is not None:
        prompts = backbone.get_submodule(slot)
        length = prompts.insert(positions.new_zeros(1, length, positions.shape[2])).shape[1]
        tokens = prompts.remove(torch.arange(length)[None, :, None])
    grid = to_pair(backbone.grid_size, 'grid_size')
    patches = _patches_of(backbone, tokens, grid)
    proj = innermost(backbone.patch_embed.proj)
    top, left = ((s - t) / 2 for s, t in zip(proj.kernel_size, proj.stride, strict=True))
    bottom, right = top + proj.stride[0] * grid[0], left + proj.stride[1] * grid[1]
    return TokenGrid(length, patches.flatten().unflatten(0, grid), (left, right, bottom, top))


def block_grids(backbone: nn.Module, size: Size | None = None) -> list[TokenGrid]:
    """Return where the tokens of each block lie on the image.

    A backbone in stages says rows and columns of each by ``stage_grids()``; the others have one
    sequence for all blocks, see :func:`token_grid`.

    Args:
        backbone: the backbone.
        size: height and width of the images; None stands for those that it was built for.

    Raises:
        UserError: the backbone does not say where they are.
    """
    if size is not None:
        backbone = _built_for(backbone, size)
    blocks = sites_of(backbone).blocks
    if not hasattr(backbone, 'stage_grids'):
        return [token_grid(backbone)] * len(blocks)
    height, width = input_size(backbone)
    grids = [
        TokenGrid(
            rows * columns, torch.arange(rows * columns).view(rows, columns), (0, width, height, 0)
        )
        for rows, columns in backbone.stage_grids()
    ]
    return [grids[block.stage] for block in blocks]


def _built_for(backbone: nn.Module, size: Size) -> nn.Module:
    """Return a backbone of the same modules whose grids are those of images of ``size``."""
    other = copy.copy(backbone)
    if hasattr(other, 'set_img_size'):
        other.set_img_size(size)
    else:
        other.img_size = size
    return other


def _patches_of(backbone: nn.Module, tokens: torch.Tensor, grid: Size) -> torch.Tensor:
    if hasattr(backbone, 'split_tokens'):
        return backbone.split_tokens(tokens)[0]
    has_cls_token = tokens.shape[1] > grid[0] * grid[1]
    return take_from_middle(tokens)[0] if has_cls_token else tokens


def to_image_order(sequences: torch.Tensor) -> torch.Tensor:
    """Reverse the backward direction, the second of (2, length); it is its own inverse."""
    return torch.stack([sequences[FORWARD], sequences[BACKWARD].flip(-1)])


def chunk_size(length: int, num_chunks: int) -> int:
    """Return the length of a chunk; the last chunk may be shorter, and chunks beyond it empty."""
    return -(-length // num_chunks)
