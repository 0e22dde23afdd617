"""Whole parts of a block, and the places of patches among its tokens."""

from dataclasses import dataclass

import torch

from memba_vision.errors import UserError
from memba_vision.models.modules.patches import Size


@dataclass(frozen=True)
class PatchTokens:
    """Places of the patches among the tokens of a sequence, row by row.

    Attributes:
        grid: rows and columns; None where block and mixer are called with them as second argument.
        others: positions of the tokens that are no patches, in ascending order.
    """

    grid: Size | None = None
    others: tuple[int, ...] = ()

    def grid_of(self, tokens: torch.Tensor, *call: object) -> Size:
        """Return rows and columns of the patches among (batch, tokens, width).

        Args:
            tokens: the sequence.
            call: other arguments of the call of the block or the mixer.

        Raises:
            UserError: there are more or fewer tokens.
        """
        grid = call[0] if self.grid is None else self.grid
        expected = grid[0] * grid[1] + len(self.others)
        if tokens.shape[1] != expected:
            raise UserError(
                f'an adapter on the grid of patches expects {expected} tokens, a grid of '
                f'{grid[0]} x {grid[1]} and {len(self.others)} others, and got {tokens.shape[1]}: '
                'leave out what adds tokens (prompts), and use images of the size that the '
                'backbone was built for'
            )
        return grid

    def take_apart(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return patches and other tokens of (batch, tokens, width), each in their order."""
        if not self.others:
            return tokens, tokens[:, :0]
        pieces = tokens.split(self._sizes(tokens.shape[1]), dim=1)
        return torch.cat(pieces[::2], dim=1), torch.cat(pieces[1::2], dim=1)

    def put_together(self, patches: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """Return the sequence: the inverse of :meth:`take_apart`."""
        if not self.others:
            return patches
        sizes = self._sizes(patches.shape[1] + others.shape[1])
        pieces = [None] * len(sizes)
        pieces[::2] = patches.split(sizes[::2], dim=1)
        pieces[1::2] = others.split(1, dim=1)
        return torch.cat(pieces, dim=1)

    def _sizes(self, length: int) -> list[int]:
        """Return the lengths of runs of patches and, 1 each, of the other tokens between them."""
        starts, stops = (0, *(place + 1 for place in self.others)), (*self.others, length)
        runs = [stop - start for start, stop in zip(starts, stops, strict=True)]
        return [size for run in runs for size in (run, 1)][:-1]


@dataclass(frozen=True)
class BlockParts:
    """Parts of a block that a module can be put beside, before or behind.

    Attributes:
        width: channels of the residual stream.
        block: the path of the whole block, which is called with the residual stream, (batch,
            tokens, width), first, and yields it first.
        mixer: the path of the mixer or attention layer, called with the normalised stream.
        mlp: the path of the MLP, called likewise; None where there is none.
        patches: the places of patches among the tokens; None where the sequence is no whole map,
            or the size of the images is not known beforehand.
        any_length: True where the block takes sequences of any length.
    """

    width: int
    block: str
    mixer: str
    mlp: str | None = None
    patches: PatchTokens | None = None
    any_length: bool = False
