"""Scans down the columns of an image, and in four directions at once: against the plain loop."""

import pytest
import torch
from scan_cases import assert_close, assert_like_naive, make_inputs, scan_and_grads

from memba_vision.ops import ScanInputs, cross_scan, selective_scan
from memba_vision.ops.selective_scan import mamba_ssm
from memba_vision.ops.selective_scan.naive import selective_scan_naive

BACKENDS = ['torch', 'portable', 'numba']
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


def four_scans(*ways, grid):
    """Run four scans of the plain loop, which is the definition."""
    options = dict(delta_softplus=True, backend='naive')
    rows, columns, rows_back, columns_back = (way._asdict() for way in ways)
    return (
        selective_scan(**rows, **options)
        + selective_scan(**columns, **options, grid=grid)
        + selective_scan(**rows_back, **options, reverse=True)
        + selective_scan(**columns_back, **options, reverse=True, grid=grid)
    )


def make_ways(batch, dim, grid, state, dtype=torch.float64, shared=True, channel_last=True):
    """Make the inputs of four directions, of the same ``u`` where it is ``shared``."""
    ways = []
    for seed in range(4):
        shape = batch, dim, grid[0] * grid[1], state
        inputs = make_inputs(*shape, dtype, channel_last, seed=seed)
        del inputs['z']
        ways.append(ScanInputs(**{name: t.requires_grad_() for name, t in inputs.items()}))
    return [way._replace(u=ways[0].u) for way in ways] if shared else ways


def leaves_of(ways):
    return list(dict.fromkeys(tensor for way in ways for tensor in way if tensor is not None))


@pytest.mark.parametrize('backend', ['torch', 'numba'])
@pytest.mark.parametrize(
    ('batch', 'dim', 'grid', 'state'),
    [(1, 1, (1, 1), 1), (2, 33, (3, 5), 1), (1, 64, (8, 4), 16), (3, 70, (2, 17), 3)],
    ids=str,
)
@pytest.mark.parametrize(
    ('shared', 'channel_last'), [(True, True), (True, False), (False, True)], ids=str
)
def test_four_directions(backend, batch, dim, grid, state, shared, channel_last):
    ways = make_ways(batch, dim, grid, state, shared=shared, channel_last=channel_last)
    leaves = leaves_of(ways)
    assert len(leaves) == (25 if shared else 28)
    expected = four_scans(*ways, grid=grid)
    out = cross_scan(*ways, delta_softplus=True, grid=grid, backend=backend)
    torch.testing.assert_close(out, expected)
    grad = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    grads = (torch.autograd.grad(result, leaves, grad) for result in (out, expected))
    torch.testing.assert_close(*grads)


def test_four_directions_of_which_some_have_what_others_have_not():
    ways = make_ways(2, 40, (3, 4), 2)
    ways[1] = ways[1]._replace(D=None)
    ways[2] = ways[2]._replace(B=ways[2].B[:, None].expand(-1, 2, -1, -1))
    out = cross_scan(*ways, delta_softplus=True, grid=(3, 4), backend='numba')
    torch.testing.assert_close(out, four_scans(*ways, grid=(3, 4)))


@pytest.mark.parametrize('backend', ['torch', 'numba'])
def test_four_directions_in_half_precision_are_summed_in_float32(backend):
    ways = make_ways(2, 40, (3, 4), 2)
    ways = [ScanInputs(*(tensor.detach().bfloat16() for tensor in way)) for way in ways]
    ways = [way._replace(u=ways[0].u) for way in ways]
    out = cross_scan(*ways, delta_softplus=True, grid=(3, 4), backend=backend)
    exact = [ScanInputs(*(tensor.double() for tensor in way)) for way in ways]
    bound = torch.finfo(torch.bfloat16).eps / 2 * 1.01
    expected = four_scans(*exact, grid=(3, 4))
    torch.testing.assert_close(out.double(), expected, rtol=bound, atol=1e-5)


@pytest.mark.parametrize('names', ['u', ('delta', 'B', 'C'), ('A', 'D')], ids=str)
def test_gradients_of_some_of_the_inputs(names):
    ways = [ScanInputs(*(tensor.detach() for tensor in way)) for way in make_ways(2, 40, (3, 4), 2)]
    ways = [way._replace(u=ways[0].u) for way in ways]
    leaves = list(dict.fromkeys(getattr(way, name) for way in ways for name in names))
    for leaf in leaves:
        leaf.requires_grad_()
    options = dict(delta_softplus=True, grid=(3, 4))
    outs = (cross_scan(*ways, **options, backend=backend) for backend in ('torch', 'numba'))
    torch.testing.assert_close(*(torch.autograd.grad(out.square().sum(), leaves) for out in outs))


def test_threads_leave_no_trace():
    ways = make_ways(1, 96, (14, 14), 1, torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            out = cross_scan(*ways, delta_softplus=True, grid=(14, 14), backend='numba')
            results.append([out, *torch.autograd.grad(out.sum(), leaves_of(ways))])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *results))


@pytest.mark.slow
@pytest.mark.parametrize('trained', [ScanInputs._fields, 'A', 'B', ['D'], ['delta'], ['u', 'D']])
def test_compiled_equals_eager(trained):
    """Whatever trains, as methods differ in that; some backbones have no bias here."""
    ways = [
        ScanInputs(*(t.detach().requires_grad_(n in trained) for n, t in way._asdict().items()))
        for way in make_ways(2, 40, (3, 4), 2, torch.float32)
    ]
    if 'delta_bias' not in trained:
        ways = [way._replace(delta_bias=None) for way in ways]
    leaves = [tensor for tensor in leaves_of(ways) if tensor.requires_grad]

    def scan(*ways):
        return cross_scan(*ways, delta_softplus=True, grid=(3, 4), backend='numba') * 2

    compiled = torch.compile(scan, fullgraph=True, backend='aot_eager')
    results = [
        [out, *torch.autograd.grad(out.square().sum(), leaves)]
        for out in (scan(*ways), compiled(*ways))
    ]
    assert all(map(torch.equal, *results))


def test_operators_agree_with_their_declarations():
    ways = make_ways(2, 6, (3, 4), 4)
    stacked = [torch.stack([way[i].detach() for way in ways]) for i in range(2, 7)]
    u, delta = ways[0].u, [way.delta for way in ways]
    flags = True, [0, 0, 1, 1], [1, 3, 1, 3]
    ops = torch.ops.memba_vision
    torch.library.opcheck(
        ops.selective_scan_numba.default,
        (u, delta, *(tensor.requires_grad_() for tensor in stacked), *flags, True),
        test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'),
    )
    with torch.no_grad():
        inputs = u.detach(), [d.detach() for d in delta], *(t.detach() for t in stacked)
        out, states = ops.selective_scan_numba(*inputs, *flags, True)
    for needs in ([True] * 3, [False] * 3):
        torch.library.opcheck(
            ops.selective_scan_numba_backward.default,
            (out, states, *inputs, *flags, needs),
            test_utils=('test_schema', 'test_faketensor'),
        )
