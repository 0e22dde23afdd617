"""The torch backend against the plain loop, and the arguments of the mamba-ssm backend."""

import itertools
import sys
import types
from dataclasses import replace

import pytest
import torch
from scan_cases import (
    NAMES,
    assert_close,
    assert_like_naive,
    every_other,
    make_inputs,
    scan_and_grads,
)
from torch.utils._python_dispatch import TorchDispatchMode

from memba_vision.ops import selective_scan
from memba_vision.ops.causal_conv1d import cuda_package
from memba_vision.ops.selective_scan import mamba_ssm, torch_blocked
from memba_vision.ops.selective_scan.naive import selective_scan_naive

# batch, dim, length, state: below, at and beside the sizes of blocks
SHAPES = [
    (1, 1, 1, 1),
    (3, 2, 2, 3),
    (1, 5, 63, 16),
    (2, 3, 17, 2),
    (2, 3, 64, 1),
    (3, 4, 65, 3),
    (1, 2, 130, 16),
    (2, 4, 197, 16),
]
FLOAT64_BOUND = 1e-11
FLOAT32_BOUND = 2e-5


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_float64(shape, reverse):
    assert_like_naive('torch', make_inputs(*shape, torch.float64), FLOAT64_BOUND, reverse=reverse)


@pytest.mark.parametrize('softplus', [False, True], ids=['plain', 'softplus'])
@pytest.mark.parametrize('count', range(4), ids='without_{}'.format)
def test_optional_inputs(count, softplus):
    inputs = make_inputs(2, 3, 9, 4, torch.float64)
    inputs['delta'] = inputs['delta'].abs() / 4
    for absent in itertools.combinations(('D', 'z', 'delta_bias'), count):
        present = {name: tensor for name, tensor in inputs.items() if name not in absent}
        assert_like_naive('torch', present, FLOAT64_BOUND, softplus=softplus)


@pytest.mark.parametrize('backend', ['naive', 'torch'])
def test_one_channel_by_hand(backend):
    """exp(delta * A) = 1 / 2 at every position: a running sum that halves."""
    ones = torch.ones(1, 1, 3, dtype=torch.float64)
    decay = torch.full((1, 1), 0.5, dtype=torch.float64).log()
    u = torch.tensor([[[1.0, 2.0, 4.0]]], dtype=torch.float64)
    out = selective_scan(u, ones, decay, ones, 2 * ones, D=ones[0, 0, :1], backend=backend)
    torch.testing.assert_close(out, 2 * u.new_tensor([[[1.0, 2.5, 5.25]]]) + u)
    out = selective_scan(u, ones, decay, ones, ones, reverse=True, backend=backend)
    torch.testing.assert_close(out, u.new_tensor([[[3.0, 4.0, 4.0]]]))


def test_naive_reverse_is_the_scan_of_the_flipped_sequence():
    inputs = make_inputs(2, 3, 7, 4, torch.float64)
    flipped = {name: t.flip(-1) if t.ndim == 3 else t for name, t in inputs.items()}
    expected = selective_scan(**flipped, delta_softplus=True, backend='naive').flip(-1)
    actual = selective_scan(**inputs, delta_softplus=True, reverse=True, backend='naive')
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_gradcheck_over_several_blocks(reverse, monkeypatch):
    monkeypatch.setitem(torch_blocked.BLOCK_LENGTH, 'cpu', 2)
    tensors = [t.requires_grad_() for t in make_inputs(2, 2, 5, 2, torch.float64).values()]
    assert torch.autograd.gradcheck(
        lambda *x: selective_scan(*x, True, reverse=reverse, backend='torch'), tensors
    )


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_groups_of_samples(reverse, monkeypatch):
    """Five samples, two at a time: the last group is smaller than the work tensors."""
    monkeypatch.setitem(torch_blocked.WORK_ELEMENTS, 'cpu', 2 * 16 * 3 * 4)
    inputs = make_inputs(5, 3, 70, 4, torch.float64)
    assert_like_naive('torch', inputs, FLOAT64_BOUND, reverse=reverse)


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_float32(shape):
    inputs = make_inputs(*shape)
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    actual = scan_and_grads(inputs, 'torch')
    assert_close(actual, scan_and_grads(exact, 'naive'), FLOAT32_BOUND)


@pytest.mark.parametrize('backend', ['naive', 'torch'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_scanned_in_float32(dtype, backend):
    inputs = {name: tensor.to(dtype) for name, tensor in make_inputs(2, 6, 30, 4).items()}
    actual = selective_scan(**inputs, delta_softplus=True, backend=backend)
    assert actual.dtype == dtype
    exact = {name: tensor.double() for name, tensor in inputs.items()}
    expected = selective_scan(**exact, delta_softplus=True, backend='naive')
    # Nothing but the rounding of the result: half a unit in the last place.
    bound = torch.finfo(dtype).eps / 2 * 1.01
    torch.testing.assert_close(actual.double(), expected, rtol=bound, atol=1e-5)


def test_gradients_have_the_dtypes_of_their_tensors():
    inputs = {name: tensor.bfloat16() for name, tensor in make_inputs(2, 3, 9, 4).items()}
    inputs['A'] = inputs['A'].float()
    grads = scan_and_grads(inputs, 'torch')
    assert all(grads[name].dtype == tensor.dtype for name, tensor in inputs.items())


@pytest.mark.parametrize(
    'frozen',
    [('A',), ('A', 'D', 'delta_bias'), ('u', 'B'), ('delta', 'C', 'z'), NAMES[1:]],
    ids='-'.join,
)
def test_frozen_inputs(frozen):
    inputs = make_inputs(2, 5, 70, 4, torch.float64)
    assert_like_naive('torch', inputs, FLOAT64_BOUND, frozen=frozen)


@pytest.mark.parametrize('needed', [False, True], ids=['A_frozen', 'A_trained'])
def test_gradient_of_a_frozen_decay_is_not_computed(needed):
    u, delta, A, B, C = list(make_inputs(1, 3, 5, 2).values())[:5]
    _, starts = torch.ops.memba_vision.selective_scan_torch(u, delta, A, B, C, False)
    backward = torch.ops.memba_vision.selective_scan_torch_backward
    grad_A = backward(torch.ones_like(u), u, delta, A, B, C, starts, False, needed)[2]
    assert grad_A.numel() == (A.numel() if needed else 0)


def test_no_gradient_is_asked_for():
    inputs = make_inputs(1, 3, 5, 2)
    assert not selective_scan(**inputs, backend='torch').requires_grad


@pytest.mark.parametrize('make', [every_other, None], ids=['every_other', 'channel_last'])
def test_strided_inputs(make):
    inputs = make_inputs(2, 6, 70, 4, torch.float64, channel_last=make is None)
    inputs = make(inputs) if make else inputs
    assert not inputs['u'].is_contiguous()
    assert_like_naive('torch', inputs, FLOAT64_BOUND)


def test_inputs_are_left_as_they_were():
    inputs = make_inputs(2, 3, 70, 4)
    before = {name: tensor.clone() for name, tensor in inputs.items()}
    scan_and_grads(inputs, 'torch')
    assert all(torch.equal(inputs[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize('backend', ['naive', 'torch'])
def test_autocast_changes_nothing(backend):
    inputs = make_inputs(2, 6, 30, 4)
    expected = scan_and_grads(inputs, backend)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        actual = scan_and_grads(inputs, backend)
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
def test_compiled_equals_eager(reverse):
    inputs = make_inputs(2, 6, 70, 4)

    def scan(**tensors):
        options = dict(delta_softplus=True, reverse=reverse, backend='torch')
        return selective_scan(**tensors, **options) * 2

    results = []
    for function in (scan, torch.compile(scan, fullgraph=True, backend='aot_eager')):
        tensors = {k: v.detach().requires_grad_(k != 'A') for k, v in inputs.items()}
        out = function(**tensors)
        out.square().sum().backward()
        results.append([out, *(t.grad for t in tensors.values() if t.requires_grad)])
    assert all(map(torch.equal, *results))


def test_ops_agree_with_their_declarations():
    tensors = list(make_inputs(2, 3, 70, 4, channel_last=True).values())[:5]
    tensors[1] = tensors[1].abs()
    _, starts = torch.ops.memba_vision.selective_scan_torch(*tensors, False)
    torch.library.opcheck(
        torch.ops.memba_vision.selective_scan_torch.default,
        (*(t.requires_grad_(i != 2) for i, t in enumerate(tensors)), True),
    )
    tensors = [tensor.detach() for tensor in tensors]
    torch.library.opcheck(
        torch.ops.memba_vision.selective_scan_torch_backward.default,
        (torch.ones_like(tensors[0]), *tensors, starts, False, True),
        test_utils=('test_schema', 'test_faketensor'),
    )


class LargestTensor(TorchDispatchMode):
    """Records the size of the largest memory that any operation allocates, in elements."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                size = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.elements = max(self.elements, size)
        return out


def largest_tensor(function, *args):
    """What an op's plain Python function returns, and the elements of its largest tensor."""
    with LargestTensor() as largest:
        return function(*args), largest.elements


def test_states_of_all_positions_are_never_in_memory_at_once(monkeypatch):
    monkeypatch.setitem(torch_blocked.WORK_ELEMENTS, 'cpu', 1)
    monkeypatch.setitem(torch_blocked.BLOCK_LENGTH, 'cpu', 8)
    batch, dim, length, state = 6, 8, 160, 16
    tensors = list(make_inputs(batch, dim, length, state).values())[:5]
    # Inside a custom op nothing is dispatched; its plain function does the same in the open.
    forward, backward = torch_blocked._scan._init_fn, torch_blocked._scan_backward._init_fn
    (out, starts), in_forward = largest_tensor(forward, *tensors, False)
    _, in_backward = largest_tensor(backward, out, *tensors, starts, False, True)
    everything = batch * dim * length * state
    assert in_forward <= everything // 8
    assert in_backward <= everything // 8
    assert in_forward >= starts.numel()  # the recorder does see what is allocated


class StandInKernel:
    """As strict as the real ``selective_scan_fn``, and as limited: it scans forwards alone."""

    def __init__(self):
        self.dtype = None
        self.groups = None

    def __call__(self, u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
        sequences = [tensor for tensor in (u, delta, B, C, z) if tensor is not None]
        assert len({tensor.dtype for tensor in sequences}) == 1
        assert all(tensor.stride(-1) == 1 for tensor in sequences)
        weights = [tensor for tensor in (A, D, delta_bias) if tensor is not None]
        assert all(tensor.dtype == torch.float32 for tensor in weights)
        self.dtype = u.dtype
        self.groups = tuple(matrix.shape[1] for matrix in (B, C) if matrix.ndim == 4)
        return selective_scan_naive(u, delta, A, B, C, D, z, delta_bias, delta_softplus)


@pytest.fixture
def stand_in(monkeypatch):
    kernel = StandInKernel()
    monkeypatch.setattr(mamba_ssm, '_kernel_function', lambda: kernel)
    return kernel


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('absent', [(), ('z',), ('D', 'delta_bias')], ids=str)
def test_mamba_ssm_gets_what_its_kernel_takes(stand_in, absent, reverse):
    inputs = {
        name: tensor.requires_grad_()
        for name, tensor in make_inputs(2, 3, 9, 4, channel_last=True).items()
        if name not in absent
    }
    out = mamba_ssm.selective_scan_mamba_ssm(**inputs, delta_softplus=True, reverse=reverse)
    grads = torch.autograd.grad(out.square().sum(), inputs.values())
    expected = selective_scan(**inputs, delta_softplus=True, reverse=reverse, backend='naive')
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(grads, torch.autograd.grad(expected.square().sum(), inputs.values()))


@pytest.mark.parametrize(
    ('u_dtype', 'delta_dtype', 'kernel_dtype'),
    [
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float32, torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
    ],
    ids=str,
)
def test_mamba_ssm_promotes_dtypes(stand_in, u_dtype, delta_dtype, kernel_dtype):
    inputs = {name: tensor.bfloat16() for name, tensor in make_inputs(2, 3, 9, 4).items()}
    inputs.update(u=inputs['u'].to(u_dtype), delta=inputs['delta'].to(delta_dtype))
    out = mamba_ssm.selective_scan_mamba_ssm(**inputs, delta_softplus=True)
    assert (out.dtype, stand_in.dtype) == (u_dtype, kernel_dtype)


@pytest.fixture
def fresh_look(monkeypatch):
    """Lets the backend look for the package again, before and after a test."""
    monkeypatch.setattr(mamba_ssm, 'INSTALLED', True)
    mamba_ssm._kernel_function.cache_clear()
    yield
    mamba_ssm._kernel_function.cache_clear()


def install(monkeypatch, compiled_part):
    interface = types.SimpleNamespace(selective_scan_fn=StandInKernel())
    monkeypatch.setitem(sys.modules, 'selective_scan_cuda', compiled_part)
    monkeypatch.setitem(sys.modules, 'mamba_ssm', types.ModuleType('mamba_ssm'))
    monkeypatch.setitem(sys.modules, 'mamba_ssm.ops', types.ModuleType('mamba_ssm.ops'))
    monkeypatch.setitem(sys.modules, 'mamba_ssm.ops.selective_scan_interface', interface)
    return interface.selective_scan_fn


def like(device, dtype=torch.float32):
    """What an unsupported_reason looks at; there may be no such device here."""
    return types.SimpleNamespace(device=torch.device(device), dtype=dtype)


def test_mamba_ssm_is_preferred_on_a_gpu_where_it_is_whole(monkeypatch, fresh_look):
    kernel = install(monkeypatch, types.ModuleType('selective_scan_cuda'))
    assert mamba_ssm._kernel_function() is kernel
    assert mamba_ssm._unsupported_reason(like('cuda')) is None
    from memba_vision.ops.selective_scan import BACKENDS

    assert BACKENDS.select(None, like('cuda')).name == 'mamba_ssm'
    assert BACKENDS.select(None, like('cuda', torch.float64)).name == 'torch'


def test_mamba_ssm_without_its_compiled_part_is_not_used(monkeypatch, fresh_look):
    install(monkeypatch, None)
    assert 'does not import' in mamba_ssm._unsupported_reason(like('cuda'))
    monkeypatch.setattr(mamba_ssm, 'INSTALLED', False)
    assert 'selective_scan_cuda is not installed' in mamba_ssm._unsupported_reason(like('cuda'))


def test_mamba_ssm_that_is_broken_says_how(monkeypatch, fresh_look, tmp_path):
    (tmp_path / 'selective_scan_cuda.py').write_text('raise ImportError("undefined symbol: x")\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert mamba_ssm._unsupported_reason(like('cuda')).endswith(
        'does not import: undefined symbol: x'
    )


@pytest.mark.parametrize('package', [mamba_ssm, cuda_package])
def test_looking_for_a_package_does_not_end_a_compiled_graph(package):
    torch._dynamo.reset()
    function = torch.compile(
        lambda x: x + (package._missing() is None), fullgraph=True, backend='eager'
    )
    assert function(torch.ones(1)) == 1


def test_mamba_ssm_says_what_is_in_its_way():
    assert 'CUDA device, these are on cpu' in mamba_ssm._unsupported_reason(like('cpu'))


@pytest.mark.parametrize('groups', [1, 2, 5])
def test_groups_are_scans_of_their_own(groups):
    """By the plain loop, which takes groups as they are."""
    inputs = make_inputs(2, 10, 9, 4, torch.float64)
    B, C = (torch.randn(2, groups, 4, 9, dtype=torch.float64) for _ in 'BC')
    out = selective_scan(**{**inputs, 'B': B, 'C': C}, delta_softplus=True, backend='naive')
    for group in range(groups):
        part = slice(group * 10 // groups, (group + 1) * 10 // groups)
        own = {
            name: tensor[:, part] if tensor.ndim == 3 else tensor[part]
            for name, tensor in inputs.items()
        }
        own.update(B=B[:, group], C=C[:, group])
        expected = selective_scan(**own, delta_softplus=True, backend='naive')
        torch.testing.assert_close(out[:, part], expected)


@pytest.mark.parametrize('shared', ['B', 'C'])
@pytest.mark.parametrize('backend', ['torch', 'portable', 'numba'])
def test_one_of_the_matrices_may_be_shared_by_all_groups(backend, shared):
    inputs = make_inputs(2, 6, 9, 4, torch.float64)
    grouped = 'C' if shared == 'B' else 'B'
    inputs[grouped] = torch.randn(2, 3, 4, 9, dtype=torch.float64)
    assert_like_naive(backend, inputs, FLOAT64_BOUND)


@pytest.mark.parametrize('reverse', [False, True], ids=['forwards', 'reverse'])
@pytest.mark.parametrize('backend', ['naive', 'torch', 'portable', 'numba'])
def test_the_last_state_continues_a_scan(backend, reverse):
    """A scan of the whole is a scan of its first part and, from the last state, of the rest."""
    inputs = make_inputs(2, 5, 12, 3, torch.float64)
    delta = torch.nn.functional.softplus(inputs['delta'] + inputs['delta_bias'][:, None])
    order = range(11, -1, -1) if reverse else range(12)
    state = torch.zeros(2, 5, 3, dtype=torch.float64)
    for t in order:
        added = (delta * inputs['u'])[:, :, t, None] * inputs['B'][:, None, :, t]
        state = torch.exp(delta[:, :, t, None] * inputs['A']) * state + added
    options = dict(delta_softplus=True, reverse=reverse, backend=backend)
    out, last = selective_scan(**inputs, **options, return_last_state=True)
    torch.testing.assert_close(last, state)
    torch.testing.assert_close(out, selective_scan(**inputs, **options))


def test_the_last_state_of_half_precision_is_float32_and_has_a_gradient():
    inputs = {name: tensor.bfloat16() for name, tensor in make_inputs(2, 6, 9, 4).items()}
    inputs['u'].requires_grad_()
    out, last = selective_scan(**inputs, delta_softplus=True, return_last_state=True)
    assert (out.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    (grad,) = torch.autograd.grad(last.sum(), inputs['u'])
    assert grad.isfinite().all() and grad.any()


def test_mamba_ssm_gets_as_many_groups_of_either_matrix(stand_in):
    inputs = make_inputs(2, 6, 9, 4)
    inputs['C'] = torch.randn(2, 3, 4, 9)
    out = mamba_ssm.selective_scan_mamba_ssm(**inputs, delta_softplus=True)
    assert stand_in.groups == (3, 3)
    torch.testing.assert_close(out, selective_scan(**inputs, delta_softplus=True, backend='naive'))


@pytest.mark.parametrize('tensor', ['A', 'D', 'delta_bias', 'z'])
def test_the_choice_of_a_backend_looks_at_every_tensor(tensor):
    from memba_vision.ops.selective_scan import BACKENDS

    inputs = make_inputs(2, 6, 9, 4)
    inputs[tensor] = inputs[tensor].double()
    backend = BACKENDS._backends['mamba_ssm']
    backend = replace(backend, unsupported_reason=lambda tensor: None)
    assert 'one of the tensors is float64' in backend.why_unsupported(list(inputs.values()))
