"""Tensors of any size and any layout in memory, on any number of threads: all backends agree."""

import random

import pytest
import torch
from op_cases import SHAPES, SIZES, backends_of, cpu_backends_of, make_tensors, results_and_grads


def draw_sizes(dice):
    """Sizes at, below and above those of the kernels' blocks."""
    groups = dice.choice([1, 2, 3])
    return dict(
        batch=dice.choice([0, 1, 1, 2, 3]),
        dim=groups * dice.choice([1, 2, 5, 16, 31, 32, 33]),
        length=dice.choice([1, 1, 2, 3, 15, 16, 17, 33]),
        state=dice.choice([1, 2, 4, 5, 16]),
        width=dice.choice([1, 2, 3, 4, 6]),
        groups=groups,
        num_chunks=dice.choice([1, 2, 4, 7]),
    )


def keep(tensor, dice):
    return tensor


def last_axis_first(tensor, dice):
    return tensor.mT.contiguous().mT if tensor.ndim > 1 else tensor


def first_axis_last(tensor, dice):
    return tensor.movedim(0, -1).contiguous().movedim(-1, 0)


def every_other(tensor, dice):
    return torch.stack([tensor, tensor.new_full(tensor.shape, torch.nan)], -1).flatten(-2)[..., ::2]


def part_of_a_larger(tensor, dice):
    larger = tensor.new_full([size + 3 for size in tensor.shape], torch.nan)
    part = larger[tuple(slice(1, 1 + size) for size in tensor.shape)]
    return part.copy_(tensor)


def expanded(tensor, dice):
    """The same numbers all along one axis, in memory once."""
    axis = dice.randrange(tensor.ndim)
    return tensor.narrow(axis, 0, min(1, tensor.shape[axis])).expand_as(tensor)


def flipped(tensor, dice):
    return tensor.flip(-1)


LAYOUTS = [keep, last_axis_first, first_axis_last, every_other, part_of_a_larger, expanded, flipped]


def compare(case, seed):
    """Values and gradients of all backends at sizes, layouts and options that a seed draws."""
    dice = random.Random(f'{case} {seed}')
    sizes = draw_sizes(dice)
    tensors = make_tensors(case, sizes, seed)
    layouts = {name: dice.choice(LAYOUTS) for name in tensors}
    tensors = {name: layouts[name](tensor, dice) for name, tensor in tensors.items()}
    options = dict(num_chunks=sizes['num_chunks'], **draw_options(case, sizes, dice))
    described = f'{case}, seed {seed}: {sizes}, {options}'
    first, *others = cpu_backends_of(case)
    expected = results_and_grads(case, tensors, first, **options)
    for backend in others:
        if backend == 'numba' and case not in ANY_CHANNELS and sizes['dim'] < 32:
            continue
        actual = results_and_grads(case, tensors, backend, **options)
        torch.testing.assert_close(
            actual,
            expected,
            rtol=1e-9,
            atol=1e-9,
            msg=lambda text, backend=backend: f'{backend}, {described}\n{text}',
        )


ANY_CHANNELS = 'selective_scan', 'selective_scan, grouped', 'cross_scan'


def draw_options(case, sizes, dice):
    """Draw what an op takes beside its tensors."""
    length = sizes['length']
    rows = dice.choice([rows for rows in range(1, length + 1) if length % rows == 0])
    grid = rows, length // rows
    if case == 'cross_scan':
        return dict(grid=grid)
    if case == 'bidirectional_scan':
        return dict(grid=dice.choice([None, grid]))
    if case in ANY_CHANNELS:
        flags = dict(reverse=dice.random() < 0.5, return_last_state=dice.random() < 0.3)
        return dict(**flags, grid=dice.choice([None, grid]))
    if case == 'causal_conv1d':
        names = 'reverse', 'silu', 'return_final_states'
        return {name: dice.random() < 0.5 for name in names}
    return {}


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('case', SHAPES)
def test_backends_agree(case, seed):
    compare(case, seed)


@pytest.mark.parametrize('case', [case for case in SHAPES if 'numba' in backends_of(case)])
def test_results_do_not_depend_on_the_number_of_threads(case):
    sizes = {**SIZES, 'batch': 7, 'dim': 72, 'num_chunks': 4}
    tensors = make_tensors(case, sizes, dtype=torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(results_and_grads(case, tensors, 'numba', num_chunks=4))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))
