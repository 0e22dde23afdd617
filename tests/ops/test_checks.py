"""Tensors that do not fit each other never get as far as a backend."""

import re

import pytest
import torch
from op_cases import (
    SHAPES,
    SIZES,
    backends_of,
    call,
    cpu_backends_of,
    make_tensors,
    op_of,
    results_and_grads,
)

from memba_vision.errors import UserError
from memba_vision.ops import ScanInputs, bidirectional_scan, causal_conv1d, selective_scan
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.checks import Signature

#: Ops of every kind of rule, for what takes seconds.
TRACED = 'selective_scan, grouped', 'causal_conv1d', 'membrane_gate'


def replaced(change):
    """Each tensor of each op in turn, changed, with what to expect of the message."""
    return [
        pytest.param(case, name, axis, id=f'{case}-{name}-{axis}')
        for case, shapes in SHAPES.items()
        for name, shape in shapes(**SIZES).items()
        for axis in range(len(shape) if change == 'axes' else 1)
        if (name, axis) != ('x', 2) or case != 'causal_conv1d'  # of any length
    ]


@pytest.fixture
def no_backend(monkeypatch):
    def reached(*arguments):
        raise AssertionError('a backend was chosen')

    monkeypatch.setattr(BackendTable, 'select', reached)


def refusals(case, tensors):
    """The messages of an op by all its backends, those that cannot run here included."""
    messages = set()
    for backend in (None, 'auto', *backends_of(case)):
        with pytest.raises(UserError) as error:
            call(case, tensors, backend)
        messages.add(str(error.value))
    return messages


@pytest.mark.parametrize('by', [-1, 1], ids=['shorter', 'longer'])
@pytest.mark.parametrize(('case', 'name', 'axis'), replaced('axes'))
def test_every_size_of_every_tensor_is_compared(no_backend, case, name, axis, by):
    tensors = make_tensors(case, SIZES)
    shape = list(tensors[name].shape)
    shape[axis] += by
    tensors[name] = torch.zeros(shape, dtype=torch.float64)
    (message,) = refusals(case, tensors)
    assert re.match(rf'{op_of(case)}: [\w.]+ must be \(.*\) = \(.*\), got \(.*\)', message)


@pytest.mark.parametrize(('case', 'name', 'axis'), replaced('axes'))
def test_nothing_is_empty(no_backend, case, name, axis):
    tensors = make_tensors(case, SIZES)
    shape = list(tensors[name].shape)
    shape[axis] = 0
    tensors[name] = torch.zeros(shape, dtype=torch.float64)
    (message,) = refusals(case, tensors)
    assert message.startswith(f'{op_of(case)}: ') and ' must be (' in message


@pytest.mark.parametrize('more', [False, True], ids=['fewer_axes', 'more_axes'])
@pytest.mark.parametrize(('case', 'name', 'axis'), replaced('whole'))
def test_the_number_of_axes_is_compared(no_backend, case, name, axis, more):
    tensors = make_tensors(case, SIZES)
    tensors[name] = tensors[name][None, None] if more else tensors[name].sum()
    (message,) = refusals(case, tensors)
    assert f'{op_of(case)}: {name} must be (' in message
    assert f'got {tuple(tensors[name].shape)}' in message


@pytest.mark.parametrize('dtype', [torch.int64, torch.bool, torch.complex64], ids=str)
@pytest.mark.parametrize(('case', 'name', 'axis'), replaced('whole'))
def test_every_dtype_is_looked_at(no_backend, case, name, axis, dtype):
    tensors = make_tensors(case, SIZES)
    tensors[name] = tensors[name].to(dtype)
    (message,) = refusals(case, tensors)
    known = 'float32, float64, bfloat16, float16'
    assert f'{name} must be one of {known}, got {str(dtype)[6:]}; ' in message


@pytest.mark.parametrize(('case', 'name', 'axis'), replaced('whole'))
def test_every_device_is_looked_at(no_backend, case, name, axis):
    tensors = make_tensors(case, SIZES)
    first, second = list(tensors)[:2]
    tensors[name] = tensors[name].to('meta')
    named, at, where = (second, 'meta', 'cpu') if name == first else (name, 'cpu', 'meta')
    (message,) = refusals(case, tensors)
    assert f'{named} must be on {at}, as {first}, got {where}' in message


@pytest.mark.parametrize('value', [None, 3.0], ids=str)
@pytest.mark.parametrize('case', SHAPES)
def test_what_is_no_tensor_is_named(no_backend, case, value):
    for name in list(make_tensors(case, SIZES))[:2]:
        tensors = {**make_tensors(case, SIZES), name: value}
        if value is None and name in ('initial', 'bias'):
            continue
        (message,) = refusals(case, tensors)
        assert f'{name} must be a tensor, got {type(value).__name__}' in message


def test_more_channels_than_filters_are_refused_in_the_words_of_the_user():
    with pytest.raises(UserError) as error:
        causal_conv1d(torch.zeros(2, 40, 9), torch.zeros(32, 4))
    assert str(error.value) == (
        'causal_conv1d: weight must be (dim, width) = (40, width), got (32, 4)'
    )


def test_a_constant_matrix_is_refused_with_what_to_do_and_that_works():
    tensors = make_tensors('selective_scan', {**SIZES, 'dim': 3})
    batch, dim, length = tensors['u'].shape
    constant = torch.randn(dim, 3, dtype=torch.float64)
    with pytest.raises(UserError, match='a group per channel') as error:
        selective_scan(**{**tensors, 'B': constant})
    advice = str(error.value).split('per channel: ')[1]
    tensors['B'] = eval(advice, {'B': constant, 'batch': batch, 'length': length})
    naive, torch_ = (selective_scan(**tensors, backend=backend) for backend in ('naive', 'torch'))
    torch.testing.assert_close(torch_, naive)


@pytest.mark.parametrize('groups', [5, 72])
def test_channels_that_do_not_share_out_are_refused(no_backend, groups):
    case = 'selective_scan, grouped'
    (message,) = refusals(case, make_tensors(case, {**SIZES, 'groups': groups}))
    assert message.endswith(
        'the channels of u must be a multiple of the groups of B and C, got '
        f'36 channels and {groups} groups'
    )


@pytest.mark.parametrize('grid', [(2, 4), (7, 0), (-1, -7), (7,)], ids=str)
@pytest.mark.parametrize('case', ['selective_scan', 'bidirectional_scan', 'cross_scan'])
def test_a_grid_has_as_many_positions_as_the_sequences(no_backend, case, grid):
    with pytest.raises(
        UserError, match=r'grid must be .* rows \* columns = 7, .*, got \('
    ) as error:
        call(case, make_tensors(case, SIZES), None, grid=grid)
    assert str(error.value).endswith(str(grid))


def test_the_directions_of_a_scan_are_compared(no_backend):
    one, other = (
        make_tensors('bidirectional_scan', {**SIZES, 'length': length}) for length in (7, 8)
    )
    forward, backward = (
        ScanInputs(**{n: tensors[f'forward.{n}'] for n in ScanInputs._fields})
        for tensors in (one, other)
    )
    with pytest.raises(UserError, match=r'backward.u must be .* = \(2, 36, 7\), got \(2, 36, 8\)'):
        bidirectional_scan(forward, backward)


def test_a_signature_tells_the_sizes():
    signature = Signature('scale', x='batch, dim', half='dim or None', both='2 * batch or None')
    x = torch.zeros(3, 4)
    assert signature.check(x, None, None, width=9) == dict(batch=3, dim=4, width=9)
    assert signature.check(x, x[0], torch.zeros(6))['2 * batch'] == 6
    with pytest.raises(UserError, match=r'scale: half must be \(dim,\) = \(4,\), got \(3,\)'):
        signature.check(x, torch.zeros(3), None)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('case', SHAPES)
def test_backends_agree_on_a_tensor_of_another_dtype(case, dtype):
    plain = make_tensors(case, SIZES, dtype=torch.float32)
    first, *others = cpu_backends_of(case)
    for name in plain:
        tensors = {**plain, name: plain[name].to(dtype)}
        expected = results_and_grads(case, tensors, first)
        for backend in others:
            actual = results_and_grads(case, tensors, backend)
            torch.testing.assert_close(actual, expected, rtol=2e-2, atol=5e-2)


@pytest.mark.parametrize('case', TRACED)
def test_checks_are_part_of_a_compiled_graph(case):
    tensors = make_tensors(case, SIZES, dtype=torch.float32)
    compiled = torch.compile(
        lambda tensors: call(case, tensors, None), fullgraph=True, backend='eager', dynamic=True
    )
    torch.testing.assert_close(compiled(tensors), call(case, tensors, None))


@pytest.mark.parametrize('case', TRACED)
def test_what_does_not_fit_is_said_outside_of_a_compiled_graph(case):
    tensors = make_tensors(case, SIZES)
    name = list(tensors)[1]
    tensors[name] = tensors[name].to(torch.int64)
    compiled = torch.compile(lambda tensors: call(case, tensors, None), backend='eager')
    with pytest.raises(UserError, match=f'{name} must be one of float32'):
        compiled(tensors)


@pytest.mark.parametrize('case', SHAPES)
def test_tensors_without_data_have_results_without_data(case):
    tensors = make_tensors(case, SIZES, dtype=torch.float32)
    expected = call(case, tensors, None)
    results = call(case, {name: t.to('meta') for name, t in tensors.items()}, None)
    assert [(r.shape, r.dtype, r.device.type) for r in results] == [
        (e.shape, e.dtype, 'meta') for e in expected
    ]


class AsModule(torch.nn.Module):
    def __init__(self, case):
        super().__init__()
        self.case = case

    def forward(self, tensors):
        return call(self.case, tensors, None)


@pytest.mark.parametrize('case', TRACED)
def test_an_exported_op_takes_any_batch(case):
    batch = torch.export.Dim('batch', min=2, max=8)
    one, other = (make_tensors(case, {**SIZES, 'batch': n}, dtype=torch.float32) for n in (3, 5))
    dynamic = {
        name: {
            axis: batch * (size // 3)
            for axis, size in enumerate(t.shape)
            if size != other[name].shape[axis]
        }
        for name, t in one.items()
    }
    program = torch.export.export(AsModule(case), (one,), dynamic_shapes=(dynamic,))
    torch.testing.assert_close(program.module()(other), call(case, other, 'torch'))
