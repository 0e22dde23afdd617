"""EVA (Paischer et al. 2024): LoRA that starts from the directions of the task's activations."""

from collections.abc import Sequence

import torch
from torch import nn

from memba_vision.models.peft.adapter import AdaptedLayer, merge_layers, replace_module
from memba_vision.models.peft.lora_layers import LoRALinear
from memba_vision.models.peft.low_rank import check_low_rank
from memba_vision.models.peft.selection import SelectingAdapter, Task
from memba_vision.models.peft.setting_checks import check_least
from memba_vision.models.peft.targets import check_targets, find_targets
from memba_vision.registry import ADAPTERS

SHARES, DIRECTIONS = '.shares', '.directions'  # behind the name of a layer


class ObservedLayer(AdaptedLayer):
    """Layer that sums up the products of its inputs, (in_features, in_features), in float64.

    Args:
        base_layer: the layer.
    """

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        width, device = base_layer.in_features, base_layer.weight.device
        # Of the inputs and a one beside them: their products, sums and number in one matrix.
        self.moments = torch.zeros(width + 1, width + 1, dtype=torch.float64, device=device)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the layer to (..., in_features)."""
        rows = hidden.detach().flatten(0, -2).double()
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        self.moments += rows.T @ rows
        return self.base_layer(hidden)


def principal_directions(moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the shares of the variance that inputs have along their directions, and these.

    Args:
        moments: of :class:`ObservedLayer`.

    Returns:
        (in_features,), largest first, and (in_features, in_features), a direction a row, whose
        largest component is positive.
    """
    products, sums, count = moments[:-1, :-1], moments[:-1, -1], moments[-1, -1]
    mean = sums / count
    variances, vectors = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    variances, directions = variances.flip(0).clamp(min=0), vectors.T.flip(0)
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    return variances / variances.sum().clamp(min=1e-30), directions * largest.sign()


@ADAPTERS.register_module()
class EVA(SelectingAdapter):
    """LoRA whose ``down`` starts from the directions along which inputs vary most.

    Each layer's directions are ranked by their shares of its inputs' variance, those of all layers
    together; the first ones, ``rank`` for each layer on average and at most ``rho * rank`` in one,
    become rows of ``down``. ``up`` is zero at the start. A layer may get none. Trains as LoRA where
    no layer stands out, 4,718,592 parameters with rank 64 on ``in_proj`` and ``out_proj`` of Vim-S;
    ranks that move to wider layers make it more. Source: Paischer et al. 2024, section 3, and the
    authors' code; their incremental SVD comes close to what is computed here.

    Args:
        targets: names or roles of linear layers.
        rank: mean width of the bottlenecks.
        scale: factor of the update, whatever the rank.
        drop_rate: dropout on the activations of the bottleneck.
        rho: the largest rank of a layer, in units of ``rank``; 1 moves none.
        images: see :class:`~memba_vision.models.peft.selection.SelectingAdapter`.
        choice: likewise; the rank of each layer.
    """

    def __init__(
        self,
        targets: Sequence[str] = ('in_proj', 'out_proj'),
        rank: int = 64,
        scale: float = 0.1,
        drop_rate: float = 0.1,
        rho: float = 2.0,
        images: int | None = 256,
        choice: dict | None = None,
    ) -> None:
        check_targets('EVA', targets)
        check_low_rank('EVA', rank, drop_rate, scale)
        check_least('EVA', 'rho', rho, 1)
        super().__init__(images, choice)
        self.targets = tuple(targets)
        self.rank = rank
        self.rho = rho
        self.settings = dict(scale=scale, drop_rate=drop_rate)

    def places(self, backbone: nn.Module) -> dict[str, nn.Module]:
        """Return the layers of the targets by name."""
        return find_targets(backbone, self.targets, [nn.Linear])

    @torch.no_grad()
    def measure(self, task: Task) -> dict[str, torch.Tensor]:
        """Return the directions of the inputs and their shares of the variance, by layer."""
        layers = {n: ObservedLayer(layer) for n, layer in self.places(task.backbone).items()}
        for name, layer in layers.items():
            replace_module(task.backbone, name, layer)
        for batch in task.batches(self.images):
            task.features(batch)
        statistics = {}
        for name, layer in layers.items():
            shares, directions = principal_directions(task.total(layer.moments))
            statistics |= {name + SHARES: shares, name + DIRECTIONS: directions}
        return statistics

    def choose(self, backbone: nn.Module, statistics: dict[str, torch.Tensor]) -> dict:
        """Return the rank of each layer."""
        most = int(self.rho * self.rank)
        shares = {
            name.removesuffix(SHARES): values[:most].cpu()
            for name, values in statistics.items()
            if name.endswith(SHARES)
        }
        numbers = [torch.full((len(s),), n, device='cpu') for n, s in enumerate(shares.values())]
        order = torch.cat([*shares.values()]).argsort(descending=True, stable=True)
        chosen = torch.cat(numbers)[order[: self.rank * len(shares)]]
        counts = torch.bincount(chosen, minlength=len(shares)).tolist()
        return dict(zip(shares, counts, strict=True))

    def without_data(self, backbone: nn.Module) -> dict[str, torch.Tensor]:
        """Return shares that are the same for ``rank`` directions of each layer."""
        found = {}
        for name, layer in self.places(backbone).items():
            found[name + SHARES] = torch.zeros(layer.in_features, device='cpu')
            found[name + SHARES][: self.rank] = 1 / self.rank
        return found

    def starts(self, statistics: dict[str, torch.Tensor], choice: dict) -> dict[str, torch.Tensor]:
        """Return the directions that ``down`` starts from."""
        return {
            f'{name}.down.weight': statistics[name + DIRECTIONS][:rank]
            for name, rank in choice.items()
            if rank
        }

    def attach(self, backbone: nn.Module) -> None:
        """Put LoRA of the chosen rank on each layer."""
        for name, layer in self.places(backbone).items():
            if self.choice[name]:
                adapted = LoRALinear(layer, self.choice[name], **self.settings)
                replace_module(backbone, name, adapted)

    def merge(self, backbone: nn.Module) -> None:
        """Add the updates to the weights."""
        merge_layers(backbone, LoRALinear)
