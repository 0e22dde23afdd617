"""Scans down the columns of an image, for the backends that walk along sequences alone."""

import functools
from collections.abc import Callable

import torch

from memba_vision.errors import UserError

#: Rows and columns of an image whose positions lie row by row.
Grid = tuple[int, int]


def check_grid(op: str, grid: Grid | None, length: int) -> None:
    """Raise a UserError where a grid is not that of sequences of so many positions."""
    if grid is None:
        return
    if len(grid) != 2 or min(grid) < 1 or grid[0] * grid[1] != length:
        raise UserError(
            f'{op}: grid must be (rows, columns) with rows * columns = {length}, the length of '
            f'the sequences, got {tuple(grid)}'
        )


def columns_first(sequence: torch.Tensor | None, grid: Grid) -> torch.Tensor | None:
    """Lay positions that lie row by row, the last axis, column by column."""
    return None if sequence is None else sequence.unflatten(-1, grid).transpose(-1, -2).flatten(-2)


def rows_first(sequence: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Lay positions that lie column by column, the last axis, row by row."""
    return columns_first(sequence, (grid[1], grid[0]))


def walk_by_copy(scan: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Decorate a scan along sequences to take a grid, by copies that lie column by column."""

    @functools.wraps(scan)
    def walked(u, delta, A, B, C, D=None, z=None, *others, grid=None, **named):
        if grid is None:
            return scan(u, delta, A, B, C, D, z, *others, **named)
        u, delta, B, C, z = (columns_first(tensor, grid) for tensor in (u, delta, B, C, z))
        return rows_first(scan(u, delta, A, B, C, D, z, *others, **named), grid)

    return walked
