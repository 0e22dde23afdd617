"""Part 'scan': the selective scan alone, one direction, as a frozen Vim needs it."""

import functools
from collections.abc import Callable, Iterator

import torch

from benchmarking.contest import Call, hold
from benchmarking.passes import FORWARD, STEP, make_pass
from benchmarking.peers import mamba_ssm_scan
from benchmarking.published_loop import published_loop
from benchmarking.setting import Setting, Sizes, Workload
from benchmarking.table import Section, contest_section
from benchmarking.traffic import copy_of, forward_values, scan_traffic, step_values
from memba_vision.ops import selective_scan
from memba_vision.ops.selective_scan import BACKENDS

NEED_GRADIENTS = ('u', 'delta', 'B', 'C')
ABOUT = (
    '{workload}, length {sizes.length}, dim {sizes.channels}, state {sizes.state}; step size '
    'through softplus, {gradients}. The backends get sequences that lie in memory as the mixer '
    'has them, channels last; the published loop and mamba-ssm as they like them, length last.'
)

KINDS = {
    FORWARD: ('forward', 'no gradients'),
    STEP: ('forward + backward', 'A and D frozen'),
}

Inputs = dict[str, torch.Tensor]


def sections(setting: Setting) -> Iterator[Section]:
    """Every backend, the published loop and mamba-ssm: forward, and forward with backward."""
    seconds = setting.seconds / len(KINDS) / len(setting.workloads)
    on_gpu = setting.device.type == 'cuda'
    for workload in setting.workloads:
        inputs = make_inputs(setting.sizes, workload)
        auto = _backend_label(BACKENDS.select(None, inputs['u']).name, inputs)
        for kind, (title, gradients) in KINDS.items():
            builders = _scans(kind, inputs)
            builders['copy of as many bytes'] = functools.partial(
                _copy, kind, setting.sizes, workload
            )
            yield contest_section(
                f'The selective scan: {title}, {workload}',
                ABOUT.format(workload=workload, sizes=setting.sizes, gradients=gradients),
                hold(builders, setting.device, seconds, weigh=on_gpu),
                {f'times {auto}': auto},
            )


def make_inputs(sizes: Sizes, workload: Workload) -> Inputs:
    """Inputs with values as in a trained mixer; sequences are views of channels-last memory.

    Step sizes lie around 0.01 after the softplus, decays are 1, 2, …, state.
    """
    generator = torch.Generator().manual_seed(0)

    def sequence(rows: int) -> torch.Tensor:
        values = torch.randn(workload.batch, sizes.length, rows, generator=generator)
        return values.to(workload.device, workload.dtype).transpose(1, 2)

    decays = torch.arange(1, sizes.state + 1, device=workload.device, dtype=torch.float32)
    return {
        'u': sequence(sizes.channels),
        'delta': sequence(sizes.channels) - 4.6,
        'A': -decays.repeat(sizes.channels, 1),
        'B': sequence(sizes.state),
        'C': sequence(sizes.state),
        'D': torch.ones(sizes.channels, device=workload.device),
    }


def _scans(kind: str, inputs: Inputs) -> dict[str, Callable[[], Call]]:
    """Return the builders of the contestants, by name."""
    length_last = {name: tensor.contiguous() for name, tensor in inputs.items()}
    builders = {
        _backend_label(name, inputs): functools.partial(_backend_pass, name, kind, inputs)
        for name in BACKENDS.names()
    }
    builders['published loop'] = lambda: scan_pass(published_loop, kind, length_last)
    if inputs['u'].is_cuda:
        builders['mamba-ssm, called directly'] = lambda: scan_pass(
            functools.partial(mamba_ssm_scan(), delta_softplus=True), kind, length_last
        )
    return builders


def _backend_label(name: str, inputs: Inputs) -> str:
    chosen = BACKENDS.select(None, inputs['u']).name
    return f'backend {name} (auto)' if name == chosen else f'backend {name}'


def _backend_pass(name: str, kind: str, inputs: Inputs) -> Call:
    BACKENDS.select(name, inputs['u'])  # says what is in its way, before anything is timed
    function = functools.partial(selective_scan, delta_softplus=True, backend=name)
    return scan_pass(function, kind, inputs)


def scan_pass(function: Callable[..., torch.Tensor], kind: str, inputs: Inputs) -> Call:
    """A pass through ``function``, with gradients for the inputs that are no weights."""
    tensors = {n: t.detach().requires_grad_(n in NEED_GRADIENTS) for n, t in inputs.items()}
    leaves = [tensors[name] for name in NEED_GRADIENTS]
    return make_pass(kind, lambda: [function(**tensors)], lambda: leaves)


def _copy(kind: str, sizes: Sizes, workload: Workload) -> Call:
    values = forward_values if kind == FORWARD else step_values
    return copy_of(values([scan_traffic(sizes)]), sizes, workload)
