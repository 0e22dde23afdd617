"""Each token at its place: sequences whose values are their own positions."""

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.model import attach_adapters
from memba_vision.visualization.maps import token_grid


def grid_of(img_size: int, stride: int | None = None, adapters: tuple = ()):
    arch = dict(embed_dims=8, num_layers=1, d_state=4)
    vim = dict(type='Vim', arch=arch, img_size=img_size, patch_size=8, stride=stride)
    vim = MODELS.build(vim)
    attach_adapters(vim, adapters)
    return token_grid(vim)


def positions(length: int) -> torch.Tensor:
    """In scan order of each direction, the place in image order."""
    forward = torch.arange(length)
    return torch.stack([forward, forward.flip(0)])


@pytest.mark.parametrize('img_size', [8, 16, 24, 32, 44, 48])
def test_patches_row_by_row_without_the_class_token(img_size):
    grid = grid_of(img_size)
    side = img_size // 8
    assert grid.length == side**2 + 1
    maps = grid.to_maps(positions(grid.length))
    expected = [p for p in range(grid.length) if p != side**2 // 2]
    for found in maps:  # turned around and back, both directions are the same
        assert found.shape == (side, side)
        assert found.flatten().tolist() == expected


def test_scan_order_of_each_direction():
    grid = grid_of(24)
    forward, backward = grid.to_maps(torch.arange(10).expand(2, -1))
    assert forward.tolist() == [[0, 1, 2], [3, 5, 6], [7, 8, 9]]  # 4 is the class token
    assert backward.tolist() == [[9, 8, 7], [6, 4, 3], [2, 1, 0]]


def test_registers_are_left_out():
    arch = dict(embed_dims=8, num_layers=1, num_registers=3, reduction=1)
    backbone = MODELS.build(dict(type='MambaReg', arch=arch, img_size=24, patch_size=8))
    attach_adapters(backbone, [dict(type='PromptTuning', num_tokens=2)])
    grid = token_grid(backbone)
    assert grid.length == 1 + 12 + 1
    assert grid.patches.tolist() == [[1, 2, 4], [5, 7, 8], [10, 11, 12]]


def test_prompts_are_left_out():
    prompts = dict(type='PromptTuning', num_tokens=4)
    grid = grid_of(16, adapters=(prompts,))
    assert grid.length == 2 + 5 + 2
    forward, backward = grid.to_maps(torch.arange(9).expand(2, -1))
    assert forward.tolist() == [[2, 3], [5, 6]]
    assert backward.tolist() == [[6, 5], [3, 2]]


@pytest.mark.parametrize('num_chunks', [1, 2, 3, 4, 5, 10, 13])
def test_chunks_in_each_direction(num_chunks):
    grid = grid_of(24)
    size = -(-10 // num_chunks)
    for direction, found in enumerate(grid.chunk_maps(num_chunks)):
        for token, number in zip(grid.patches.flatten(), found.flatten(), strict=True):
            in_scan = token if direction == 0 else 9 - token
            assert number == in_scan // size + 1


@pytest.mark.parametrize('num_chunks', [1, 3, 4, 5, 13])
def test_rows_hold_every_patch_once_and_nothing_else(num_chunks):
    grid = grid_of(24)
    rows = grid.chunk_rows(positions(10).float(), num_chunks)
    assert rows.shape == (2, num_chunks, -(-10 // num_chunks))
    for found, expected in zip(rows, positions(10), strict=True):
        flat = found.flatten()[:10]
        assert flat.isnan().nonzero().flatten().tolist() == [expected.tolist().index(4)]
        assert flat[~flat.isnan()].tolist() == [p for p in expected.tolist() if p != 4]
        assert found.flatten()[10:].isnan().all()


@pytest.mark.parametrize(
    ('img_size', 'stride', 'shape', 'extent'),
    [
        (32, None, (4, 4), (0, 32, 32, 0)),
        (36, None, (4, 4), (0, 32, 32, 0)),  # the last 4 pixels are in no patch
        (32, 4, (7, 7), (2, 30, 30, 2)),  # a patch of 8 pixels has the 4 around its middle
        ((32, 24), None, (4, 3), (0, 24, 32, 0)),
        ((32, 24), (4, 8), (7, 3), (0, 24, 30, 2)),
    ],
)
def test_the_grid_lies_on_the_pixels_of_its_patches(img_size, stride, shape, extent):
    grid = grid_of(img_size, stride)
    assert grid.patches.shape == shape
    assert grid.extent == extent
    middle = shape[0] * shape[1] // 2
    assert grid.patches.flatten().tolist() == [
        place for place in range(grid.length) if place != middle
    ]


def test_a_backbone_without_a_grid_is_refused():
    with pytest.raises(UserError, match='Linear has no pos_embed, grid_size, patch_embed, so that'):
        token_grid(nn.Linear(2, 2))
