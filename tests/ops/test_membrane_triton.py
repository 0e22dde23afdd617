"""The membrane and its gate by Triton: on a GPU, or on the CPU by Triton's interpreter."""

import pytest
import torch
from membrane_cases import gate_and_grads, integrate_and_grads, make_gate_inputs, make_inputs
from op_cases import outputs_and_grads

from memba_vision.ops import leaky_integrate, membrane_gate
from memba_vision.ops.triton_kernels import presence

if presence.MISSING:
    pytest.skip(presence.MISSING, allow_module_level=True)

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
# length, number of chunks: chunks that do not fill the sequence, more chunks than positions, and
# more than the bits of a number
SIZES = [(1, 1), (1, 4), (2, 3), (37, 4), (70, 8), (9, 40)]
SIZES += [pytest.param(70, 66, marks=pytest.mark.slow)]
# What a value may differ by where rounding errors do not tip a reset.
CLOSE = dict(rtol=1e-5, atol=1e-6)


def on_device(tensors, dtype=None):
    return [t if t is None else t.to(DEVICE, dtype or t.dtype) for t in tensors]


def channel_last(tensors):
    return [t.transpose(1, 2).contiguous().transpose(1, 2) for t in tensors]


@pytest.mark.parametrize('carried', [False, True], ids=['from_zero', 'carried'])
@pytest.mark.parametrize(('length', 'num_chunks'), SIZES)
def test_membrane(length, num_chunks, carried):
    x, initial = on_device(make_inputs(length, num_chunks, torch.float32))
    results = [
        integrate_and_grads(
            x, initial if carried else None, num_chunks=num_chunks, leak=0.7, backend=backend
        )
        for backend in ('triton', 'naive')
    ]
    torch.testing.assert_close(*results, **CLOSE)


@pytest.mark.parametrize('carried', [False, True], ids=['from_zero', 'carried'])
@pytest.mark.parametrize(('length', 'num_chunks'), SIZES)
def test_gate(length, num_chunks, carried):
    inputs = on_device(make_gate_inputs(length, num_chunks, torch.float32))
    inputs = inputs if carried else [*inputs[:3], None]
    results = [
        gate_and_grads(inputs, num_chunks=num_chunks, leak=0.7, backend=backend)
        for backend in ('triton', 'naive')
    ]
    torch.testing.assert_close(*results, **CLOSE)


def test_both_directions_are_added_before_the_sum_is_rounded():
    """The two halves here cancel each other but for a small part."""
    z, scan, _, _ = on_device(make_gate_inputs(8, 1, torch.float32))
    z = torch.full_like(z, 0.5)  # a membrane that is the same both ways
    forward = scan.bfloat16().float()
    backward = (-forward * (1 + 2**-6)).bfloat16().float()
    exact, _ = membrane_gate(z, forward, backward, num_chunks=1, backend='naive')
    rounded = [tensor.bfloat16() for tensor in (z, forward, backward)]
    found, _ = membrane_gate(*rounded, num_chunks=1, backend='triton')
    torch.testing.assert_close(found.float(), exact.bfloat16().float(), rtol=2**-7, atol=1e-7)


def test_blocks_of_channels_and_positions():
    inputs = on_device(make_gate_inputs(70, 4, torch.float32, dim=65))
    results = [gate_and_grads(inputs, backend=backend) for backend in ('triton', 'naive')]
    torch.testing.assert_close(*results, **CLOSE)
    results = [integrate_and_grads(inputs[0], None, backend=b) for b in ('triton', 'naive')]
    torch.testing.assert_close(*results, **CLOSE)


def part_of_a_projection(tensors):
    return [channel_last([torch.cat([t + 1, t], 1)])[0][:, t.shape[1] :] for t in tensors]


STRIDED = [
    channel_last,
    part_of_a_projection,
    lambda tensors: [t[..., 1:] for t in part_of_a_projection(tensors)],
    lambda tensors: [t[..., ::2] for t in tensors],
    lambda tensors: [t[:1].expand(2, -1, -1) for t in tensors],
]


@pytest.mark.parametrize('make', STRIDED)
def test_strided_inputs(make):
    inputs = on_device(make_gate_inputs(18, 3, torch.float32))
    sequences = make(inputs[:3])
    chunk = -(-sequences[0].shape[-1] // 3)
    inputs = [*sequences, inputs[3][..., :chunk]]
    assert not inputs[0].is_contiguous()
    options = dict(num_chunks=3, leak=1.0, threshold=0.5)
    results = [gate_and_grads(inputs, **options, backend=b) for b in ('triton', 'naive')]
    torch.testing.assert_close(*results, **CLOSE)
    x, initial = inputs[0], inputs[3][:2]
    results = [integrate_and_grads(x, initial, **options, backend=b) for b in ('triton', 'naive')]
    torch.testing.assert_close(*results, **CLOSE)


def test_an_infinite_threshold_never_resets():
    inputs = on_device(make_gate_inputs(9, 2, torch.float32))
    options = dict(num_chunks=2, threshold=float('inf'))
    results = [gate_and_grads(inputs, **options, backend=b) for b in ('triton', 'naive')]
    torch.testing.assert_close(*results, **CLOSE)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_integrated_in_float32(dtype):
    x, initial = on_device(make_inputs(37, 4, dtype))
    results = {b: leaky_integrate(x, initial, backend=b) for b in ('triton', 'naive')}
    potential, mean = results['triton']
    assert (potential.dtype, mean.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(potential, results['naive'][0], rtol=torch.finfo(dtype).eps, atol=0)
    torch.testing.assert_close(mean, results['naive'][1], **CLOSE)


def test_gate_in_bfloat16():
    """Against the gate in float32 of the same numbers; the sums of it are rounded twice."""
    *sequences, initial = make_gate_inputs(37, 4, torch.bfloat16)
    inputs = on_device([*sequences, initial])
    actual = gate_and_grads(inputs, backend='triton')
    expected = gate_and_grads([tensor.float() for tensor in inputs], backend='naive')
    assert [t.dtype for t in actual[2:]] == [t.dtype for t in inputs]
    assert (actual[0].dtype, actual[1].dtype) == (torch.bfloat16, torch.float32)
    for tensor, exact in zip(actual, expected, strict=True):
        bound = 2 * torch.finfo(torch.bfloat16).eps * exact.abs().max()
        assert (tensor.float() - exact).abs().max() <= bound


@pytest.mark.parametrize('function', [leaky_integrate, membrane_gate])
def test_compiled_equals_eager(function):
    *sequences, initial = on_device(make_gate_inputs(9, 4, torch.float32))
    inputs = [*sequences, initial] if function is membrane_gate else [sequences[0], initial[:2]]
    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    results = [outputs_and_grads(f, inputs, backend='triton') for f in (function, compiled)]
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize('make', [channel_last, list], ids=['channel_last', 'channel_first'])
def test_ops_agree_with_their_declarations(make):
    *sequences, initial = make(on_device(make_gate_inputs(9, 4, torch.float32)))
    ops = torch.ops.memba_vision
    cases = [
        (ops.leaky_integrate_triton, ops.leaky_integrate_triton_backward, sequences[:1]),
        (ops.membrane_gate_triton, ops.membrane_gate_triton_backward, sequences),
    ]
    for forward, backward, inputs in cases:
        rows = len(sequences[0]) * (1 if len(inputs) == 1 else 2)
        inputs = [*(tensor.detach() for tensor in inputs), initial[:rows].detach()]
        settings = 4, 0.9, 1.0
        outputs = forward(*inputs, *settings)
        torch.library.opcheck(
            backward.default,
            (*outputs, *inputs, *settings, [True] * len(inputs)),
            test_utils=('test_schema', 'test_faketensor'),
        )
        torch.library.opcheck(
            forward.default,
            (*(tensor.requires_grad_() for tensor in inputs), *settings),
            test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'),
        )
