"""SDT (Galim et al. 2025): the channels and states of a scan that move most train."""

import torch
from torch import nn

from memba_vision.models.modules.scan import ScanCall, WrappedScan
from memba_vision.models.peft.adapter import merge_layers, replace_module, untie, wrap_scans
from memba_vision.models.peft.lora_layers import LoRALinear
from memba_vision.models.peft.low_rank import check_low_rank
from memba_vision.models.peft.selection import SelectingAdapter, Task, parameter_of
from memba_vision.models.peft.setting_checks import check_above_zero
from memba_vision.models.peft.sparse import (
    SparseLayer,
    SparseUpdate,
    decode_positions,
    encode_positions,
)
from memba_vision.models.peft.targets import find_targets
from memba_vision.models.sites import Rows, ScanSite, Sites, tensor_at
from memba_vision.ops import ScanInputs
from memba_vision.registry import ADAPTERS


class SparseScan(WrappedScan):
    """Scan of whose decay rates' logarithms some entries train.

    Args:
        base_layer: the scan inside.
        A_log: (d_inner, d_state).
        positions: of the entries in the flat ``A_log``, int64 (entries,).
    """

    def __init__(self, base_layer: nn.Module, A_log: torch.Tensor, positions: torch.Tensor) -> None:
        super().__init__(base_layer)
        self.change = SparseUpdate(A_log, positions)

    def prepare(self, call: ScanCall) -> ScanInputs:
        """See :meth:`~memba_vision.models.modules.scan.DirectionScan.prepare`."""
        return super().prepare(call._replace(A_log=call.A_log + self.change()))


@ADAPTERS.register_module()
class SDT(SelectingAdapter):
    """Sparse dimension tuning of scans, with LoRA on the output projections of their mixers.

    A warm-up trains all of ``A_log``, and the head. A share of each scan's channels then trains,
    those whose rates moved most, and of each of them the states that moved most; with them the
    weights from these channels to all of B and C. With the shares of the preset 12,672 parameters
    of Vim-S, and rank 8 on ``out_proj`` 221,184. Source: Galim et al. 2025 (ICML), section 5, and
    the authors' code.

    Args:
        channels: share of each scan's channels that trains.
        states: share of the states of such a channel.
        rank: width of LoRA's bottleneck.
        scale: factor of LoRA's update.
        drop_rate: dropout on the activations of the bottleneck.
        lr: learning rate of the warm-up, by AdamW without weight decay.
        images: see :class:`~memba_vision.models.peft.selection.SelectingAdapter`.
        choice: likewise; the chosen positions in each scan's flat ``A_log``.
    """

    needs = ('scan', 'mix.params', 'mix.B', 'mix.C', 'mix.out')

    def __init__(
        self,
        channels: float = 0.01,
        states: float = 0.05,
        rank: int = 8,
        scale: float = 1.0,
        drop_rate: float = 0.1,
        lr: float = 1e-3,
        images: int | None = None,
        choice: dict | None = None,
    ) -> None:
        check_low_rank('SDT', rank, drop_rate, scale)
        check_above_zero('SDT', 'channels', channels, most=1)
        check_above_zero('SDT', 'states', states, most=1)
        check_above_zero('SDT', 'lr', lr)
        super().__init__(images, choice)
        self.channels, self.states, self.lr = channels, states, lr
        self.settings = dict(rank=rank, scale=scale, drop_rate=drop_rate)

    def measure(self, task: Task) -> dict[str, torch.Tensor]:
        """Return how far the warm-up moved ``A_log`` of each scan."""
        logs = {s.slot: tensor_at(task.backbone, s.A_log) for s in self._scans(task.backbone)}
        before = {slot: A_log.detach().clone() for slot, A_log in logs.items()}
        backbone = {id(parameter) for parameter in task.backbone.parameters()}
        rates = [*{id(p): p for p in map(parameter_of, logs.values())}.values()]
        head = [p for p in task.classifier.parameters() if id(p) not in backbone]
        task.classifier.train().requires_grad_(False)
        task.backbone.eval()
        for parameter in (*rates, *head):
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW([*rates, *head], self.lr, weight_decay=0.0)
        for batch in task.batches(self.images):
            optimizer.zero_grad()
            task.loss(batch).backward()
            processes = task.total(torch.ones(()))
            for parameter in (*rates, *head):
                if parameter.grad is not None:
                    parameter.grad = task.total(parameter.grad) / processes
            optimizer.step()
        return {slot: A_log.detach() - before[slot] for slot, A_log in logs.items()}

    def places(self, backbone: nn.Module) -> list[str]:
        """Return the paths of the scans."""
        return [scan.slot for scan in self._scans(backbone)]

    def _scans(self, backbone: nn.Module) -> list[ScanSite]:
        return self.sites(backbone).scans()

    def choose(self, backbone: nn.Module, statistics: dict[str, torch.Tensor]) -> dict:
        """Return the positions that moved most, of the states of the channels that moved most."""
        return {slot: encode_positions(self._moved(change)) for slot, change in statistics.items()}

    def _moved(self, change: torch.Tensor) -> torch.Tensor:
        squares = change.square()
        d_inner, d_state = squares.shape
        channels = squares.sum(1).topk(max(1, round(self.channels * d_inner))).indices
        states = squares[channels].topk(max(1, round(self.states * d_state)), dim=1).indices
        return (channels[:, None] * d_state + states).flatten().sort().values

    def without_data(self, backbone: nn.Module) -> dict[str, torch.Tensor]:
        """Return moves that are all the same."""
        one = torch.ones((), device='cpu')
        return {
            scan.slot: one.expand(tensor_at(backbone, scan.A_log).shape)
            for scan in self._scans(backbone)
        }

    def attach(self, backbone: nn.Module) -> None:
        """Have the chosen entries of ``A_log``, B and C train, and put LoRA on the outputs."""
        sites = self.sites(backbone)
        projections = find_targets(backbone, ['mix.params'], [nn.Linear])
        outputs = find_targets(backbone, ['mix.out'], [nn.Linear])
        chosen = {slot: decode_positions(text) for slot, text in self.choice.items()}
        for scan, rows in _with_rows(sites):
            d_state = tensor_at(backbone, scan.A_log).shape[1]
            channels = (chosen[scan.slot] // d_state).unique()
            layer = projections[rows[0].module]
            positions = _entries(rows, channels, layer.in_features)
            replace_module(backbone, rows[0].module, SparseLayer(layer, positions))
        wrap_scans(
            *(backbone, 'SDT', sites),
            lambda scan, inside: SparseScan(
                inside, tensor_at(backbone, scan.A_log), chosen[scan.slot]
            ),
        )
        for name, layer in outputs.items():
            replace_module(backbone, name, LoRALinear(layer, **self.settings))

    @torch.no_grad()
    def merge(self, backbone: nn.Module) -> str | None:
        """Add the changes to the weights."""
        merge_layers(backbone, SparseLayer, LoRALinear)
        for site in self._scans(backbone):
            scan = backbone.get_submodule(site.slot)
            if isinstance(scan, SparseScan):
                owner, _, name = site.A_log.rpartition('.')
                untie(backbone, backbone.get_submodule(owner), name)
                tensor_at(backbone, site.A_log).add_(scan.change())
                replace_module(backbone, site.slot, scan.base_layer)
        if any(isinstance(module, SparseScan) for module in backbone.modules()):
            return 'SDT stays where another adapter is around its scan'
        return None


def _with_rows(sites: Sites) -> list[tuple[ScanSite, tuple[Rows, Rows]]]:
    """Return each scan with the rows of its projection that make B and C."""
    return [
        (scan, rows)
        for block in sites.blocks
        if block.scans
        for scan, *rows in zip(
            block.scans, block.projections['mix.B'], block.projections['mix.C'], strict=True
        )
    ]


def _entries(rows: tuple[Rows, Rows], channels: torch.Tensor, width: int) -> torch.Tensor:
    """Return the positions of some columns of some rows in a flat weight, sorted."""
    first = torch.tensor([row for part in rows for row in part.rows], device=channels.device)
    return (first[:, None] * width + channels).flatten().sort().values
