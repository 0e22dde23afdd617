"""SS2D: four scans and their projections in one go are four scans one after the other."""

import pytest
import torch

from memba_vision.models.modules import ss2d, stacked
from memba_vision.models.modules.linear import Linear
from memba_vision.models.modules.scan import WrappedScan
from memba_vision.models.modules.ss2d import SS2D

SHAPES = {
    'v2': (dict(dim=40, d_state=1, ssm_ratio=1, gated=False, conv_bias=False), (3, 5)),
    'v0': (dict(dim=24, d_state=3, ssm_ratio=2, gated=True, conv_bias=True), (7, 2)),
    'narrow': (dict(dim=3, d_state=2, ssm_ratio=1, gated=False, conv_bias=True), (1, 4)),
}


class Same(torch.nn.Module):
    """A projection in the place of another, as an adapter is."""

    def __init__(self, base_layer):
        super().__init__()
        self.base_layer = base_layer

    def forward(self, x):
        return self.base_layer(x)


def make_mixer(settings, dtype=torch.float64):
    torch.manual_seed(0)
    mixer = SS2D(**settings)
    with torch.no_grad():
        mixer.Ds.normal_()
        mixer.A_logs.add_(0.1 * torch.randn_like(mixer.A_logs))
    return mixer.to(dtype)


def one_by_one(mixer):
    """Wrap the scans, which then run one after the other."""
    for direction in mixer.directions:
        direction.scan = WrappedScan(direction.scan)


def one_adapted(mixer):
    """Wrap a projection, so that the directions are prepared one after the other."""
    mixer.directions[2].x_proj = Same(mixer.directions[2].x_proj)


def results(mixer, hidden, grid):
    """The output, and the gradients of the input and all parameters."""
    out, _ = mixer(hidden, grid)
    leaves = [hidden, *mixer.parameters()]
    return [out, *torch.autograd.grad(out.square().sum(), leaves)]


def make_hidden(settings, grid, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, grid[0] * grid[1], settings['dim'], generator=generator)
    return hidden.to(dtype).requires_grad_()


@pytest.mark.parametrize('change', [one_by_one, one_adapted])
@pytest.mark.parametrize(('settings', 'grid'), SHAPES.values(), ids=SHAPES)
def test_together_and_one_by_one(settings, grid, change):
    mixer, hidden = make_mixer(settings), make_hidden(settings, grid)
    together = results(mixer, hidden, grid)
    change(mixer)
    torch.testing.assert_close(results(mixer, hidden, grid), together)


@pytest.mark.parametrize('half', [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_as_near_together(half):
    settings, grid = SHAPES['v2']
    mixer, hidden = make_mixer(settings, torch.float32), make_hidden(settings, grid, torch.float32)
    exact, _ = mixer(hidden, grid)
    errors = []
    for change in (lambda mixer: None, one_by_one):
        change(mixer)
        with torch.autocast('cpu', dtype=half):
            errors.append((mixer(hidden, grid)[0].float() - exact).norm() / exact.norm())
    assert errors[0] < 0.02 and errors[0] < 1.5 * errors[1]


@pytest.mark.parametrize('version', ['v0', 'v2'])
def test_a_plain_mixer_projects_once_and_scans_once(version, monkeypatch):
    settings, grid = SHAPES[version]
    mixer, hidden = make_mixer(settings, torch.float32), make_hidden(settings, grid, torch.float32)
    widths, scans, linear, cross_scan = [], [], stacked.linear, ss2d.cross_scan
    monkeypatch.setattr(stacked, 'linear', lambda x, w: widths.append(len(w)) or linear(x, w))
    monkeypatch.setattr(
        ss2d, 'cross_scan', lambda *ways, **how: scans.append(ways) or cross_scan(*ways, **how)
    )
    mixer(hidden, grid)
    d_inner = mixer.d_inner
    assert widths == [4 * (mixer.dt_rank + 2 * settings['d_state']), *[d_inner] * 4]
    ((first, *others),) = scans
    assert all(way.u is first.u for way in others)  # so that a kernel can read it once
    sequences = [first.u, *(way.delta for way in scans[0])]
    assert all(sequence.mT.is_contiguous() for sequence in sequences)  # nothing is laid out anew


def test_a_projection_of_its_own_is_called():
    settings, grid = SHAPES['v2']
    mixer, hidden = make_mixer(settings), make_hidden(settings, grid)
    before, _ = mixer(hidden, grid)
    changed = Linear(40, mixer.dt_rank + 2, bias=False).double()
    mixer.directions[1].x_proj = changed
    out, _ = mixer(hidden, grid)
    assert not torch.allclose(out, before)
    assert torch.autograd.grad(out.sum(), changed.weight)[0].abs().sum() > 0


@pytest.mark.parametrize('backend', ['naive', 'portable', 'torch', 'numba'])
def test_columns_are_walked_by_any_backend(backend, monkeypatch):
    settings, grid = SHAPES['v0']
    mixer, hidden = make_mixer(settings, torch.float32), make_hidden(settings, grid, torch.float32)
    expected, _ = mixer(hidden, grid)
    monkeypatch.setenv('MEMBA_VISION_SELECTIVE_SCAN_BACKEND', backend)
    one_by_one(mixer)
    torch.testing.assert_close(mixer(hidden, grid)[0], expected)


class Output(torch.nn.Module):
    """The output of a mixer over a map of one size."""

    def __init__(self, mixer, grid):
        super().__init__()
        self.mixer = mixer
        self.grid = grid

    def forward(self, hidden):
        return self.mixer(hidden, self.grid)[0]


@pytest.mark.slow
def test_an_exported_mixer_takes_any_batch():
    settings, grid = SHAPES['v0']
    model = Output(make_mixer(settings, torch.float32), grid).eval()
    hidden = make_hidden(settings, grid, torch.float32).detach()
    sizes = ({0: torch.export.Dim('batch')},)
    program = torch.export.export(model, (hidden,), dynamic_shapes=sizes, strict=False)
    more = torch.cat([hidden, hidden.flip(1), -hidden])
    torch.testing.assert_close(program.module()(more), model(more))


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
@pytest.mark.parametrize('change', [lambda mixer: None, one_by_one], ids=['together', 'one_by_one'])
def test_the_older_exporter_of_onnx_knows_all_operators(change, tmp_path):
    runtime = pytest.importorskip('onnxruntime')
    settings, grid = SHAPES['v0']
    mixer = make_mixer(settings, torch.float32)
    change(mixer)
    model = Output(mixer, grid).eval()
    hidden = make_hidden(settings, grid, torch.float32).detach()
    torch.onnx.export(model, (hidden,), tmp_path / 'mixer.onnx', dynamo=False)
    session = runtime.InferenceSession(str(tmp_path / 'mixer.onnx'))
    (out,) = session.run(None, {session.get_inputs()[0].name: hidden.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), model(hidden), rtol=1e-4, atol=1e-5)
