"""What mmpretrain's get_flops counts."""

import pytest
import torch
from mmengine.analysis import ActivationAnalyzer, FlopAnalyzer, get_model_complexity_info
from torch import nn

from memba_vision.models import Vim
from memba_vision.ops import ScanInputs, cross_scan, selective_scan
from memba_vision.ops.backends import TABLES

D, N, LENGTH, RANK = 32, 4, 17, 1


class Scan(nn.Module):
    """A selective scan, forwards or backwards."""

    def __init__(self, backend: str, reverse: bool) -> None:
        super().__init__()
        self.settings = dict(backend=backend, reverse=reverse)
        self.A = nn.Parameter(-torch.rand(D, N))
        self.D = nn.Parameter(torch.ones(D))

    def forward(self, u, delta, B, C):
        return selective_scan(u, delta, self.A, B, C, self.D, delta_softplus=True, **self.settings)


@pytest.mark.parametrize('backend', ['numba', 'torch'])
@pytest.mark.parametrize('reverse', [True, False])
def test_a_scan_counts_nine_a_state_and_one_for_the_skip(backend, reverse):
    inputs = [torch.rand(2, width, LENGTH) for width in (D, D, N, N)]
    scan = Scan(backend, reverse)
    assert FlopAnalyzer(scan, tuple(inputs)).total() == 2 * D * LENGTH * (9 * N + 1)
    assert ActivationAnalyzer(scan, tuple(inputs)).total() == 2 * D * LENGTH


class CrossScan(nn.Module):
    """Four scans over an image."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend = backend
        self.A = nn.Parameter(-torch.rand(D, N))

    def forward(self, u, delta, B, C):
        ways = [ScanInputs(u, delta, self.A, B, C)] * 4
        return cross_scan(*ways, delta_softplus=True, grid=(1, LENGTH), backend=self.backend)


@pytest.mark.parametrize('backend', ['numba', 'torch'])
def test_four_scans_count_four_times(backend):
    inputs = [torch.rand(2, width, LENGTH) for width in (D, D, N, N)]
    total = FlopAnalyzer(CrossScan(backend), tuple(inputs)).total()
    assert total == 4 * 2 * D * LENGTH * (9 * N + 1)


def test_a_vim_counts_all_its_parts(monkeypatch):
    for table in TABLES.values():
        monkeypatch.delenv(table.variable, raising=False)
    monkeypatch.setenv('MEMBA_VISION_LINEAR_BACKEND', 'torch')
    vim = Vim(dict(embed_dims=16, num_layers=2, d_state=N), img_size=32, patch_size=8).eval()
    flops = get_model_complexity_info(vim, (3, 32, 32), show_table=False, show_arch=False)['flops']
    patches = 16 * 16 * 3 * 8 * 8
    projections = LENGTH * (16 * 2 * D + 2 * D * (RANK + 2 * N) + 2 * RANK * D + D * 16)
    convolutions = 2 * LENGTH * D * 4
    scans = 2 * LENGTH * D * (9 * N + 1)
    assert flops == patches + 2 * (projections + convolutions + scans)
