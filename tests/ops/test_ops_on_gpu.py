"""Every op on a GPU, by each backend that runs there: against plain torch on the CPU."""

import random

import pytest
import test_linear
import torch
from op_cases import (
    SHAPES,
    cpu_backends_of,
    make_tensors,
    op_of,
    outputs_and_grads,
    results_and_grads,
)
from test_bfloat16 import OPS
from test_linear_autocast import CHANGES, frozen
from test_odd_inputs import LAYOUTS, draw_options, draw_sizes
from test_second_derivatives import CASES, derivatives
from test_second_derivatives import make_tensors as make_small_tensors

from memba_vision.ops import backends, linear, linear_each, scaled_dropout
from memba_vision.ops.triton_kernels import presence

DEVICE = 'cuda'
TABLES = sorted(backends.TABLES.items())
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]


def backends_on_gpu(op, dtype=torch.float32):
    example = torch.zeros(2, 36, 36, device=DEVICE, dtype=dtype)
    table = backends.TABLES[op]
    return [name for name in table.names() if not table._backends[name].why_unsupported([example])]


def assert_near(actual, expected, bound, described=''):
    """Compare with what is exact; the bound is relative to the largest number of a tensor."""
    for number, (value, exact) in enumerate(zip(actual, expected, strict=True)):
        exact = exact.detach().double()
        scale = exact.abs().max().item() if exact.numel() else 0
        torch.testing.assert_close(
            value.detach().cpu().double(),
            exact,
            rtol=bound,
            atol=bound * scale,
            msg=lambda text, number=number: f'{described}, tensor {number}\n{text}',
        )


@pytest.mark.parametrize('op', [op for op, table in TABLES if 'triton' in table.names()])
def test_triton_is_taken_unless_there_is_something_better(op):
    expected = 'triton' if presence.MISSING is None else 'torch'
    assert backends_on_gpu(op)[0] in (expected, 'mamba_ssm', 'causal_conv1d')


def laid_out(tensors, seed):
    dice = random.Random(seed)
    return {name: dice.choice(LAYOUTS)(tensor, dice) for name, tensor in tensors.items()}


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('case', SHAPES)
def test_odd_sizes_and_layouts(case, seed):
    dice = random.Random(f'{case} {seed}')
    sizes = draw_sizes(dice)
    exact = make_tensors(case, sizes, seed)
    exact = {name: tensor.float().double() for name, tensor in exact.items()}
    options = dict(num_chunks=sizes['num_chunks'], **draw_options(case, sizes, dice))
    plainest = cpu_backends_of(case)[0]
    expected = results_and_grads(case, laid_out(exact, seed), plainest, **options)
    for dtype, bound in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        tensors = {name: tensor.to(DEVICE, dtype) for name, tensor in exact.items()}
        for backend in ['auto', *backends_on_gpu(op_of(case), dtype)]:
            actual = results_and_grads(case, laid_out(tensors, seed), backend, **options)
            assert_near(actual, expected, bound, f'{backend}, {dtype}, {sizes}, {options}')


@pytest.mark.parametrize('case', CASES)
def test_second_derivatives(case):
    op, call, shapes = CASES[case]
    tensors = make_small_tensors(shapes)
    expected = derivatives(call, [tensor.double() for tensor in tensors], 'torch')
    for backend in backends_on_gpu(op):
        actual = derivatives(call, [tensor.to(DEVICE) for tensor in tensors], backend)
        assert_near(actual, expected, 2e-4, backend)


@pytest.mark.parametrize('case', OPS)
def test_bfloat16(case):
    """Sequences in bfloat16 and weights in float32, as autocast has them."""
    torch.manual_seed(0)
    op, make = OPS[case]
    sequences, others = make()
    sequences = [tensor.bfloat16() for tensor in sequences]
    exact = [tensor.double() for tensor in (*sequences, *others)]
    tensors = [tensor.to(DEVICE) for tensor in (*sequences, *others)]
    actual = outputs_and_grads(op, tensors)
    assert actual[0].dtype == torch.bfloat16
    assert_near(actual, outputs_and_grads(op, exact), 0.02, case)


def products(x, weight, bias, added, *others):
    return [linear(x, weight, bias, added=added), *linear_each(x, weight, *others)]


@pytest.mark.parametrize('precision', ['float32', 'bfloat16', 'autocast'])
@pytest.mark.parametrize(('shape', 'out_features'), test_linear.SHAPES, ids=str)
def test_products(shape, out_features, precision):
    inputs = test_linear.make_inputs(shape, out_features, with_bias=True)
    inputs += [torch.randn(*shape[:-1], out_features), torch.randn(3, shape[-1])]
    dtype = torch.bfloat16 if precision == 'bfloat16' else torch.float32
    inputs = [tensor.to(dtype) for tensor in inputs]
    expected = outputs_and_grads(products, [tensor.double() for tensor in inputs])
    with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == 'autocast'):
        actual = outputs_and_grads(products, [tensor.to(DEVICE) for tensor in inputs])
    result = torch.float32 if precision == 'float32' else torch.bfloat16
    # Autocast leaves what is added as it is, and so the sum.
    total = torch.float32 if precision == 'autocast' else result
    assert [x.dtype for x in actual] == [total, result, result] + [dtype] * len(inputs)
    assert_near(actual, expected, 1e-5 if precision == 'float32' else 0.03)


@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
@torch.no_grad()
def test_a_changed_weight_is_converted_anew(change):
    x, weight = torch.randn(3, 8, device=DEVICE), frozen(5, 8).to(DEVICE)
    weight = torch.nn.Parameter(weight, requires_grad=False)
    with torch.autocast(DEVICE, torch.bfloat16):
        before = linear(x, weight)
        change(weight)
        torch.testing.assert_close(linear(x, weight), 2 * before)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_dropout_with_a_factor(dtype):
    torch.manual_seed(0)
    x = torch.randn(300, 700, device=DEVICE).add(5).to(dtype).requires_grad_()
    out = scaled_dropout(x, 0.25, 0.5)
    assert out.dtype == dtype
    kept = out.detach() != 0
    assert abs(kept.double().mean().item() - 0.75) < 0.01
    torch.testing.assert_close(out, torch.where(kept, x * (0.5 / 0.75), 0))
    out.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(kept, x.new_tensor(0.5 / 0.75), 0))
    torch.manual_seed(0)
    torch.randn(300, 700, device=DEVICE)
    assert torch.equal(scaled_dropout(x, 0.25, 0.5), out)
