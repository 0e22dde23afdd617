"""Scans down the columns of an image, and in four directions at once: against the plain loop."""

import pytest
import torch
from op_cases import make_tensors
from scan_cases import assert_close, assert_like_naive, make_inputs, scan_and_grads

from memba_vision.ops import cross_scan, selective_scan
from memba_vision.ops.selective_scan import mamba_ssm
from memba_vision.ops.selective_scan.naive import selective_scan_naive

BACKENDS = ['torch', 'portable', pytest.param('numba', marks=pytest.mark.filterwarnings('ignore'))]
#: rows, columns: an axis of one, squares, around tiles of 16 positions
GRIDS = [(1, 1), (1, 7), (7, 1), (3, 5), (5, 13), (16, 2), (14, 14)]


def by_hand(inputs, grid, **options):
    """Scan a copy whose positions lie column by column, by the plain loop."""
    rows, columns = grid
    order = [t % rows * columns + t // rows for t in range(rows * columns)]
    back = torch.tensor(order).argsort()
    moved = {name: t[..., order] if name in 'uBCzdelta' else t for name, t in inputs.items()}
    moved = {**moved, 'A': inputs['A'], 'D': inputs['D'], 'delta_bias': inputs['delta_bias']}
    return selective_scan(**moved, delta_softplus=True, backend='naive', **options)[..., back]


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('grid', GRIDS, ids=str)
def test_the_plain_loop_goes_down_the_columns(grid, reverse):
    inputs = make_inputs(2, 3, grid[0] * grid[1], 2, torch.float64)
    out = selective_scan(**inputs, delta_softplus=True, reverse=reverse, grid=grid, backend='naive')
    torch.testing.assert_close(out, by_hand(inputs, grid, reverse=reverse))


def test_two_by_two_by_hand():
    """Without decay the state is the sum of what the scan has passed: 0, 2, 1, 3."""
    ones = torch.ones(1, 1, 4)
    u = torch.tensor([[[1.0, 10.0, 100.0, 1000.0]]])
    for backend in ('naive', 'torch', 'numba'):
        out = selective_scan(u, ones, torch.zeros(1, 1), ones, ones, grid=(2, 2), backend=backend)
        torch.testing.assert_close(out, torch.tensor([[[1.0, 111.0, 101.0, 1111.0]]]))


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('grid', GRIDS, ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_float64(backend, grid, reverse):
    shape = 2, 37, grid[0] * grid[1], 5
    for channel_last in (False, True):
        inputs = make_inputs(*shape, torch.float64, channel_last)
        assert_like_naive(backend, inputs, 1e-10, reverse=reverse, grid=grid)


@pytest.mark.parametrize('state', [1, 2, 8])
@pytest.mark.parametrize('backend', BACKENDS)
def test_float32(backend, state):
    inputs = make_inputs(2, 70, 7 * 9, state, channel_last=True)
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    expected = scan_and_grads(exact, 'naive', grid=(7, 9))
    assert_close(scan_and_grads(inputs, backend, grid=(7, 9)), expected, 2e-5)


@pytest.mark.parametrize('backend', BACKENDS)
def test_bfloat16(backend):
    inputs = {name: tensor.bfloat16() for name, tensor in make_inputs(2, 6, 30, 4).items()}
    actual = selective_scan(**inputs, delta_softplus=True, grid=(5, 6), backend=backend)
    assert actual.dtype == torch.bfloat16
    expected = selective_scan(**inputs, delta_softplus=True, grid=(5, 6), backend='naive')
    torch.testing.assert_close(actual, expected, rtol=torch.finfo(torch.bfloat16).eps, atol=1e-5)


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_mamba_ssm_gets_a_copy(monkeypatch, reverse):
    def kernel(*tensors, z, delta_bias, delta_softplus):
        return selective_scan_naive(*tensors, z, delta_bias, delta_softplus)

    monkeypatch.setattr(mamba_ssm, '_kernel_function', lambda: kernel)
    inputs = make_inputs(2, 6, 15, 4)
    options = dict(delta_softplus=True, reverse=reverse, grid=(3, 5))
    out = mamba_ssm.selective_scan_mamba_ssm(**inputs, **options)
    torch.testing.assert_close(out, selective_scan(**inputs, **options, backend='naive'))


@pytest.mark.parametrize('backend', ['naive', 'torch', 'portable', 'numba'])
def test_the_last_state(backend):
    inputs = make_inputs(2, 5, 6, 3, torch.float64)
    options = dict(delta_softplus=True, reverse=True, return_last_state=True)
    out, last = selective_scan(**inputs, **options, grid=(3, 2), backend=backend)
    moved = {name: t[..., [0, 2, 4, 1, 3, 5]] if t.ndim == 3 else t for name, t in inputs.items()}
    expected, expected_last = selective_scan(**moved, **options, backend='naive')
    torch.testing.assert_close(last, expected_last)
    torch.testing.assert_close(out[..., [0, 2, 4, 1, 3, 5]], expected)


@pytest.mark.parametrize('transform', ['grad', 'jvp', 'vmap'])
def test_function_transforms(transform):
    inputs = make_inputs(2, 4, 6, 2, torch.float64)
    others = {name: tensor for name, tensor in inputs.items() if name != 'u'}

    def total(u, backend=None):
        return selective_scan(u, **others, grid=(2, 3), backend=backend).square().sum()

    u, direction = inputs['u'], torch.ones_like(inputs['u'])
    if transform == 'grad':
        actual, expected = torch.func.grad(total)(u), torch.autograd.functional.jacobian(total, u)
    elif transform == 'jvp':
        actual = torch.func.jvp(total, (u,), (direction,))[1]
        expected = torch.autograd.functional.jacobian(total, u).sum()
    else:
        actual = torch.func.vmap(total)(torch.stack([u, -u]))
        expected = torch.stack([total(u), total(-u)])
    torch.testing.assert_close(actual, expected)


def test_an_exported_scan_walks_down_the_columns():
    class Scan(torch.nn.Module):
        def forward(self, u, delta, A, B, C):
            return selective_scan(u, delta, A, B, C, delta_softplus=True, grid=(2, 3))

    inputs = make_inputs(2, 3, 6, 4)
    tensors = tuple(inputs[name] for name in ('u', 'delta', 'A', 'B', 'C'))
    program = torch.export.export(Scan(), tensors, strict=False)
    torch.testing.assert_close(program.module()(*tensors), Scan()(*tensors))


def four_scans(u, *tensors, grid):
    """The definition: four scans of the plain loop."""
    scans = zip(*(tensor.unbind() for tensor in tensors), strict=True)
    outs = [
        selective_scan(
            u,
            *(scan[:5]),
            delta_bias=scan[5],
            delta_softplus=True,
            reverse=reverse,
            grid=direction,
            backend='naive',
        )
        for scan, (reverse, direction) in zip(
            scans, [(False, None), (False, grid), (True, None), (True, grid)], strict=True
        )
    ]
    return sum(outs)


def cross_inputs(batch, dim, grid, state, dtype=torch.float64):
    sizes = dict(batch=batch, dim=dim, length=grid[0] * grid[1], state=state)
    tensors = make_tensors('cross_scan', sizes, dtype=dtype)
    tensors['u'], tensors['delta'] = (tensors[n].mT.contiguous().mT for n in ('u', 'delta'))
    return [tensor.requires_grad_() for tensor in tensors.values()]


@pytest.mark.parametrize('backend', ['torch', 'numba'])
@pytest.mark.parametrize(
    ('batch', 'dim', 'grid', 'state'),
    [(1, 1, (1, 1), 1), (2, 33, (3, 5), 1), (1, 64, (8, 4), 16), (3, 70, (2, 17), 3)],
    ids=str,
)
def test_four_directions(backend, batch, dim, grid, state):
    tensors = cross_inputs(batch, dim, grid, state)
    expected = four_scans(*tensors, grid=grid)
    out = cross_scan(*tensors, delta_softplus=True, grid=grid, backend=backend)
    torch.testing.assert_close(out, expected)
    grad = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    grads = (torch.autograd.grad(result, tensors, grad) for result in (out, expected))
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize('backend', ['torch', 'numba'])
def test_four_directions_in_half_precision_are_summed_in_float32(backend):
    tensors = [t.detach() for t in cross_inputs(2, 40, (3, 4), 2, torch.bfloat16)]
    out = cross_scan(*tensors, delta_softplus=True, grid=(3, 4), backend=backend)
    exact = four_scans(*(tensor.double() for tensor in tensors), grid=(3, 4))
    bound = torch.finfo(torch.bfloat16).eps / 2 * 1.01
    torch.testing.assert_close(out.double(), exact, rtol=bound, atol=1e-5)


@pytest.mark.parametrize('needed', [range(1), (1, 3, 4), (0, 2, 5)], ids=str)
def test_gradients_of_some_of_the_inputs(needed):
    tensors = cross_inputs(2, 40, (3, 4), 2)
    for i, tensor in enumerate(tensors):
        tensor.requires_grad_(i in needed)
    leaves = [tensors[i] for i in needed]
    outs = (cross_scan(*tensors, grid=(3, 4), backend=backend) for backend in ('torch', 'numba'))
    torch.testing.assert_close(*(torch.autograd.grad(out.square().sum(), leaves) for out in outs))


def test_threads_leave_no_trace():
    tensors = cross_inputs(1, 96, (14, 14), 1, torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            out = cross_scan(*tensors, delta_softplus=True, grid=(14, 14), backend='numba')
            results.append([out, *torch.autograd.grad(out.sum(), tensors)])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *results))


def test_compiled_equals_eager():
    tensors = cross_inputs(2, 40, (3, 4), 2, torch.float32)

    def scan(*tensors):
        return cross_scan(*tensors, delta_softplus=True, grid=(3, 4), backend='numba') * 2

    compiled = torch.compile(scan, fullgraph=True, backend='aot_eager')
    results = [
        [out, *torch.autograd.grad(out.square().sum(), tensors)]
        for out in (scan(*tensors), compiled(*tensors))
    ]
    assert all(map(torch.equal, *results))


def test_operators_agree_with_their_declarations():
    tensors = cross_inputs(2, 6, (3, 4), 4)
    flags = True, [False, False, True, True], [1, 3, 1, 3]
    ops = torch.ops.memba_vision
    torch.library.opcheck(
        ops.selective_scan_numba.default,
        (*tensors, *flags, True),
        test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'),
    )
    tensors = [tensor.detach() for tensor in tensors]
    out, states = ops.selective_scan_numba(*tensors, *flags, True)
    for needs in ([True] * 3, [False] * 3):
        torch.library.opcheck(
            ops.selective_scan_numba_backward.default,
            (out, states, *tensors, *flags, needs),
            test_utils=('test_schema', 'test_faketensor'),
        )
