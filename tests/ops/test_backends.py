"""The switch between the implementations of an op."""

import types

import pytest
import torch
from torch.autograd import forward_ad

from memba_vision.errors import UserError
from memba_vision.ops import (
    ScanInputs,
    backends,
    bidirectional_membrane,
    bidirectional_scan,
    causal_conv1d,
    cross_scan,
    gated_merge,
    leaky_integrate,
    linear,
    membrane_gate,
    selective_scan,
)
from memba_vision.ops.backends import BackendTable, describe_choice
from memba_vision.ops.causal_conv1d import BACKENDS as CONVOLUTIONS
from memba_vision.ops.numba_kernels import layout
from memba_vision.ops.selective_scan import BACKENDS as SCANS

TABLES = list(backends.TABLES.values())
SEQUENCE = torch.zeros(1, 2, 3)
WAY = ScanInputs(SEQUENCE, SEQUENCE, torch.zeros(2, 1), SEQUENCE[:, :1], SEQUENCE[:, :1])
CALLS = {
    'selective_scan': lambda **options: selective_scan(
        SEQUENCE, SEQUENCE, torch.zeros(2, 1), SEQUENCE[:, :1], SEQUENCE[:, :1], **options
    ),
    'causal_conv1d': lambda **options: causal_conv1d(SEQUENCE, torch.zeros(2, 4), **options),
    'leaky_integrate': lambda **options: leaky_integrate(SEQUENCE, **options),
    'bidirectional_membrane': lambda **options: bidirectional_membrane(SEQUENCE, **options),
    'gated_merge': lambda **options: gated_merge(SEQUENCE, SEQUENCE, SEQUENCE, **options),
    'linear': lambda **options: linear(SEQUENCE, torch.zeros(4, 3), **options),
    'bidirectional_scan': lambda **options: bidirectional_scan(WAY, WAY, **options),
    'cross_scan': lambda **options: cross_scan(*[WAY] * 4, grid=(1, 3), **options),
    'membrane_gate': lambda **options: membrane_gate(SEQUENCE, SEQUENCE, SEQUENCE, **options),
}


@pytest.fixture
def table():
    """A table with 'slow', 'fast' and 'rare', which runs on float64 alone."""
    table = BackendTable('add')
    backends.TABLES.pop('add')
    table.register('slow', priority=-1)(lambda x: 'slow')
    table.register('fast', priority=5)(lambda x: 'fast')
    unsupported_reason = lambda x: None if x.dtype == torch.float64 else 'it wants float64'  # noqa: E731
    table.register('rare', priority=9, unsupported_reason=unsupported_reason)(lambda x: 'rare')
    return table


@pytest.mark.parametrize('name', [None, '', 'auto'])
def test_auto_takes_the_highest_priority_that_can_run(table, name):
    assert table.select(name, torch.zeros(1)).name == 'fast'
    assert table.select(name, torch.zeros(1).double()).name == 'rare'


def test_a_name_is_obeyed(table):
    assert table.select('slow', torch.zeros(1)).function(0) == 'slow'


def test_names_come_in_order_of_preference(table):
    assert table.names() == ['rare', 'fast', 'slow']


def test_an_unknown_name_is_told_with_the_known(table):
    with pytest.raises(UserError, match="add: unknown backend 'fats'; known are auto, rare, fast"):
        table.select('fats', torch.zeros(1))


def test_a_backend_that_cannot_run_says_why(table):
    with pytest.raises(UserError, match="backend 'rare' cannot run here: it wants float64"):
        table.select('rare', torch.zeros(1))


def test_the_environment_names_one_and_the_argument_outranks_it(table, monkeypatch):
    monkeypatch.setenv('MEMBA_VISION_ADD_BACKEND', 'slow')
    assert table.select(None, torch.zeros(1)).name == 'slow'
    assert table.select('fast', torch.zeros(1)).name == 'fast'
    assert table.select('auto', torch.zeros(1)).name == 'fast'
    monkeypatch.setenv('MEMBA_VISION_ADD_BACKEND', '')
    assert table.select(None, torch.zeros(1)).name == 'fast'


@pytest.mark.parametrize('table', TABLES, ids=lambda table: table.op)
def test_every_op_has_a_reference_and_a_fast_version_for_any_machine(table):
    anywhere = types.SimpleNamespace(device=torch.device('mps'), dtype=torch.float32)
    assert table.select(None, anywhere).name == 'torch'
    # Interpreted, Triton's kernels come behind what runs by itself.
    assert [name for name in table.names() if name != 'triton'][-1] in ('naive', 'torch')


@pytest.mark.parametrize('table', TABLES, ids=lambda table: table.op)
def test_every_op_lists_its_backends_when_one_is_unknown(table):
    with pytest.raises(UserError, match=f'{table.op}: unknown backend') as error:
        CALLS[table.op](backend='cobol')
    assert all(name in str(error.value) for name in table.names())


@pytest.mark.parametrize('table', TABLES, ids=lambda table: table.op)
def test_every_op_listens_to_its_variable(table, monkeypatch):
    monkeypatch.setenv(f'MEMBA_VISION_{table.op.upper()}_BACKEND', 'cobol')
    with pytest.raises(UserError, match="unknown backend 'cobol'"):
        CALLS[table.op]()
    assert CALLS[table.op](backend='torch') is not None


@pytest.mark.parametrize(
    ('table', 'name'),
    [(SCANS, 'mamba_ssm'), (CONVOLUTIONS, 'causal_conv1d')],
    ids=lambda value: getattr(value, 'op', value),
)
def test_cuda_kernels_refuse_a_cpu(table, name):
    with pytest.raises(UserError, match=f"'{name}' cannot run here: .* CUDA .* on cpu"):
        CALLS[table.op](backend=name)


def test_without_numba_the_torch_scan_runs(monkeypatch, caplog):
    monkeypatch.setattr(layout, 'HAS_NUMBA', False)
    layout._warn_once.cache_clear()
    tensor = torch.zeros(1, 1, 1)
    assert SCANS.select(None, tensor).name == 'torch'
    with pytest.raises(UserError, match='numba is not installed; pip install numba'):
        SCANS.select('numba', tensor)
    assert [record.message for record in caplog.records] == [
        'numba is not installed: plain torch takes several times as long on a CPU'
    ]


def test_the_choice_of_every_op_can_be_told():
    line = describe_choice(torch.zeros(1, 64, 64))
    assert line.startswith('Kernels on cpu: bidirectional_membrane numba, bidirectional_scan torch')
    end = 'linear onednn, membrane_gate numba, selective_scan numba'
    assert line.endswith(end)


@pytest.mark.parametrize('table', TABLES, ids=lambda table: table.op)
def test_every_op_has_a_portable_backend_for_exports(table, monkeypatch):
    monkeypatch.setattr(torch.compiler, 'is_exporting', lambda: True)
    assert table.select(None, torch.zeros(2, 64, 64)).portable


def under_trace(call):
    class Caller(torch.nn.Module):
        def forward(self, x):
            call(x)
            return x

    torch.jit.trace(Caller(), torch.zeros(2, 64, 64), check_trace=False)


def under_forward_mode(call):
    with forward_ad.dual_level():
        call(torch.zeros(2, 64, 64))


FOLLOWERS = {
    'jit_trace': under_trace,
    'func': lambda call: torch.vmap(call)(torch.zeros(1, 2, 64, 64)),
    'forward_mode': under_forward_mode,
}


@pytest.mark.filterwarnings('ignore::FutureWarning')
@pytest.mark.parametrize('follow', FOLLOWERS.values(), ids=FOLLOWERS)
@pytest.mark.parametrize('table', TABLES, ids=lambda table: table.op)
def test_what_follows_operators_gets_those_of_torch(table, follow):
    chosen = []

    def choose(x):
        chosen.append(table.select(None, x))
        return x

    follow(choose)
    assert all(backend.portable for backend in chosen)
    assert chosen


@pytest.mark.parametrize('follow', ['func', 'forward_mode'])
def test_a_named_kernel_is_refused_where_derivatives_pass_it_by(follow):
    def choose(x):
        with pytest.raises(UserError, match=r"alone: choose 'auto' or .*torch, naive"):
            CONVOLUTIONS.select('numba', x)
        assert CONVOLUTIONS.select('naive', x).name == 'naive'
        return x

    FOLLOWERS[follow](choose)


def test_a_graph_that_is_counted_keeps_its_kernels():
    from mmengine.analysis import get_model_complexity_info

    class Caller(torch.nn.Module):
        def forward(self, x):
            chosen.append(CONVOLUTIONS.select(None, x).name)
            return x + 1

    chosen = []
    get_model_complexity_info(Caller(), inputs=(torch.zeros(2, 64, 64),), show_table=False)
    assert set(chosen) == {'numba'}
