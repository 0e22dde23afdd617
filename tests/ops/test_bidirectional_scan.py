"""Both scan directions in one launch: against one direction after the other."""

import pytest
import torch
from scan_cases import assert_close, make_inputs

from memba_vision.ops import ScanInputs, bidirectional_scan, goes_in_one_launch
from memba_vision.ops.bidirectional_scan.triton_gpu import differ
from memba_vision.ops.triton_kernels import presence

if presence.MISSING:
    pytest.skip(presence.MISSING, allow_module_level=True)

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


def make_ways(*shape, absent=(), **options):
    """Inputs of the forward and of the backward direction, which have nothing in common."""
    ways = []
    for seed in range(2):
        inputs = make_inputs(*shape, seed=seed, **options)
        names = [name for name in ScanInputs._fields if name not in absent]
        ways.append(ScanInputs(**{name: inputs[name].to(DEVICE) for name in names}))
    return ways


def scan_and_grads(ways, backend, frozen=(), use=(True, True), **options):
    ways = [
        ScanInputs(
            **{
                name: None if tensor is None else tensor.detach().requires_grad_(name not in frozen)
                for name, tensor in way._asdict().items()
            }
        )
        for way in ways
    ]
    outs = bidirectional_scan(*ways, delta_softplus=True, backend=backend, **options)
    loss = sum(
        (out * torch.linspace(-1, sign, out.numel(), device=DEVICE).view(out.shape)).sum()
        for out, sign, used in zip(outs, (1, 2), use, strict=True)
        if used
    )
    loss.backward()
    results = {f'out {i}': out.detach() for i, out in enumerate(outs)}
    for i, way in enumerate(ways):
        grads = {name: t.grad for name, t in way._asdict().items() if t is not None}
        results.update({f'{name} {i}': grad for name, grad in grads.items()})
    return results


def assert_equal_to_separate(ways, **options):
    actual = scan_and_grads(ways, 'triton', **options)
    assert_close(actual, scan_and_grads(ways, 'torch', **options), 1e-5)


@pytest.mark.parametrize('channel_last', [False, True])
@pytest.mark.parametrize(
    'shape',
    [(1, 1, 1, 1), (2, 33, 3, 4), pytest.param((3, 5, 34, 2), marks=pytest.mark.slow)],
    ids=str,
)
def test_equals_one_after_the_other(shape, channel_last):
    assert_equal_to_separate(make_ways(*shape, channel_last=channel_last))


@pytest.mark.parametrize('absent', [('D',), ('delta_bias',), ('D', 'delta_bias')], ids=str)
def test_without_optional_inputs(absent):
    assert_equal_to_separate(make_ways(2, 5, 4, 3, absent=absent))


@pytest.mark.parametrize('frozen', [('A', 'D', 'delta_bias'), ('u', 'B'), ('delta', 'C')], ids=str)
def test_frozen_inputs(frozen):
    ways = make_ways(1, 4, 5, 2)
    actual = scan_and_grads(ways, 'triton', frozen=frozen)
    assert_close(actual, scan_and_grads(ways, 'torch', frozen=frozen), 1e-5)
    assert all(actual[f'{name} {i}'] is None for name in frozen for i in range(2))


def test_only_one_result_is_used():
    ways = make_ways(1, 4, 5, 2)
    actual = scan_and_grads(ways, 'triton', use=(False, True))
    expected = scan_and_grads(ways, 'torch', use=(False, True))
    unused = [name for name, value in expected.items() if value is None]
    assert len(unused) == 7
    assert all(not actual.pop(name).any() for name in unused)
    assert_close(actual, {k: v for k, v in expected.items() if k not in unused}, 1e-5)


def test_layouts_may_differ():
    forward, _ = make_ways(2, 5, 4, 3)
    _, backward = make_ways(2, 5, 4, 3, channel_last=True)
    assert_equal_to_separate([forward, backward])


def test_other_dtypes_are_scanned_one_after_the_other():
    forward, backward = make_ways(2, 5, 4, 3)
    backward = backward._replace(delta=backward.delta.bfloat16())
    assert differ(forward, backward) and not differ(forward, forward)
    outs = bidirectional_scan(forward, backward, delta_softplus=True, backend='triton')
    expected = bidirectional_scan(forward, backward, delta_softplus=True, backend='torch')
    torch.testing.assert_close(outs, expected, rtol=1e-5, atol=1e-5)


def test_down_the_columns():
    assert_equal_to_separate(make_ways(2, 5, 6, 3), grid=(3, 2))


def test_parts_of_a_projection_are_not_copied():
    """B and C lie side by side, as the mixer has them."""
    from memba_vision.ops.triton_kernels import selective_scan

    ways = []
    for way in make_ways(2, 5, 4, 3):
        rows = torch.cat([way.B.mT, way.C.mT], dim=-1)
        ways.append(way._replace(B=rows[..., :3].mT, C=rows[..., 3:].mT))
    assert selective_scan._rows([way.B for way in ways])[1] == 6
    assert selective_scan._rows([ways[0].B, ways[1].B.contiguous()])[1] == 3
    assert_equal_to_separate(ways)


def test_groups_are_scanned_one_way_after_the_other():
    ways = [way._replace(B=torch.randn(2, 3, 2, 4, device=DEVICE)) for way in make_ways(2, 6, 4, 2)]
    outs = bidirectional_scan(*ways, delta_softplus=True, backend='triton')
    expected = bidirectional_scan(*ways, delta_softplus=True, backend='torch')
    torch.testing.assert_close(outs, expected, rtol=1e-5, atol=1e-5)


def test_a_cpu_scans_one_way_at_a_time():
    assert goes_in_one_launch(torch.zeros(1, device=DEVICE)) == (DEVICE == 'cuda')


def test_ops_agree_with_their_declarations():
    ways = make_ways(2, 6, 5, 4, channel_last=True)
    tensors = [tensor.requires_grad_() for way in ways for tensor in way]
    torch.library.opcheck(
        torch.ops.memba_vision.bidirectional_scan_triton.default,
        (*tensors, True, 1, True),
        test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'),
    )
    tensors = [tensor.detach() for tensor in tensors]
    *outs, states = torch.ops.memba_vision.bidirectional_scan_triton(*tensors, True, 1, True)
    torch.library.opcheck(
        torch.ops.memba_vision.bidirectional_scan_triton_backward.default,
        (outs, states, tensors[:7], tensors[7:], True, True, True, 1, [True, False, True]),
        test_utils=('test_schema', 'test_faketensor'),
    )
