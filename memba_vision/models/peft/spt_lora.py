"""SPT-LoRA (He et al. 2023): LoRA where many weights are sensitive, single weights elsewhere."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import merge_layers, replace_module
from memba_vision.models.peft.lora_layers import LoRALinear
from memba_vision.models.peft.low_rank import check_low_rank
from memba_vision.models.peft.selection import SelectingAdapter, Task, sum_gradients
from memba_vision.models.peft.setting_checks import check_above_zero, check_least
from memba_vision.models.peft.sparse import SparseLayer, decode_positions, encode_positions
from memba_vision.models.peft.targets import check_targets, find_targets
from memba_vision.registry import ADAPTERS

#: The most weights that count as sensitive, in units of the budget; those of matrices with LoRA
#: cost nothing more.
MOST_SENSITIVE = 8
#: The share of the weights that train, where nothing else is said.
BUDGET = 0.005


@ADAPTERS.register_module()
class SPTLoRA(SelectingAdapter):
    """The most sensitive weights train, by LoRA in those matrices that have many of them.

    A weight's sensitivity is its squared gradient, summed over batches. Of all sensitive weights as
    many count as fit the budget. A matrix gets LoRA if so many of them are in it as LoRA has
    parameters there, divided by ``alpha``; otherwise they train by themselves. Trains at most
    ``budget`` of the weights of the layers that ``targets`` name, 120,913 parameters of Vim-S, or
    ``lora_share`` of what LoRA on all of them would, 544,665 with 0.45 and rank 8. Source: He et
    al. 2023 (ICCV), section 3, and the authors' code, whose budgets are 0.2 to 1.0 million where
    LoRA of rank 8 on all projections of a ViT-B/16 has 1.3.

    Args:
        targets: names or roles of linear layers.
        budget: trained parameters, as a share of the weights of the layers. The smaller these, the
            more of them does LoRA have, so that a share that is enough for large layers leaves
            small ones without any.
        rank: width of LoRA's bottleneck.
        scale: factor of LoRA's update.
        drop_rate: dropout on the activations of the bottleneck.
        alpha: see above; larger values give LoRA to more matrices.
        images: see :class:`~memba_vision.models.peft.selection.SelectingAdapter`.
        choice: likewise; the sensitive positions in each layer's flat weight, None for LoRA.
        lora_share: trained parameters, as a share of those that LoRA would have in all of the
            layers; in place of ``budget``, which is left out then.
    """

    added_later = (*SelectingAdapter.added_later, 'lora_share')

    def __init__(
        self,
        targets: Sequence[str] = ('all_proj',),
        budget: float = BUDGET,
        rank: int = 8,
        scale: float = 1.0,
        drop_rate: float = 0.0,
        alpha: float = 10.0,
        images: int | None = 256,
        choice: dict | None = None,
        lora_share: float | None = None,
    ) -> None:
        check_targets('SPTLoRA', targets)
        check_low_rank('SPTLoRA', rank, drop_rate, scale)
        for name, share in (('budget', budget), ('lora_share', lora_share)):
            if share is not None:
                check_above_zero('SPTLoRA', name, share, most=1)
        # Headers of checkpoints name the default beside a lora_share.
        if lora_share is not None and budget != BUDGET:
            raise UserError(
                f'SPTLoRA: budget={budget} and lora_share={lora_share} both say how much trains: '
                'leave one of them out'
            )
        check_least('SPTLoRA', 'alpha', alpha, 1)
        super().__init__(images, choice)
        self.targets = tuple(targets)
        self.budget = budget
        self.lora_share = lora_share
        self.alpha = alpha
        self.settings = dict(rank=rank, scale=scale, drop_rate=drop_rate)

    def places(self, backbone: nn.Module) -> dict[str, nn.Module]:
        """Return the layers of the targets by name."""
        return find_targets(backbone, self.targets, [nn.Linear])

    def measure(self, task: Task) -> dict[str, torch.Tensor]:
        """Return the sums of the weights' squared gradients by layer."""
        weights = {name: layer.weight for name, layer in self.places(task.backbone).items()}
        return sum_gradients(task, self.images, weights, task.loss, power=2)

    def choose(self, backbone: nn.Module, statistics: dict[str, torch.Tensor]) -> dict:
        """Return the positions of the sensitive weights by layer; None for those that get LoRA."""
        sizes = torch.tensor([len(s.flatten()) for s in statistics.values()], device='cpu')
        lora = torch.tensor(
            [self.settings['rank'] * sum(s.shape) for s in statistics.values()], device='cpu'
        )
        budget = self._budget(int(sizes.sum()), int(lora.sum()))
        flat = torch.cat([s.flatten().cpu() for s in statistics.values()])
        ranked = flat.topk(min(MOST_SENSITIVE * budget, len(flat))).indices
        ends = sizes.cumsum(0)
        holders = torch.bucketize(ranked, ends, right=True)
        most = _most_within(budget, holders, lora, self.alpha)
        counts = torch.bincount(holders[:most], minlength=len(sizes))
        gets_lora = (counts >= lora / self.alpha).tolist()
        by_matrix = ranked[:most].sort().values.split(counts.tolist())
        starts = (ends - sizes).tolist()
        parts = zip(statistics, gets_lora, by_matrix, starts, strict=True)
        return {
            name: None if is_structured else encode_positions(positions - start)
            for name, is_structured, positions, start in parts
        }

    def _budget(self, weights: int, lora: int) -> int:
        share = self.lora_share
        return int(self.budget * weights) if share is None else int(share * lora)

    def without_data(self, backbone: nn.Module) -> dict[str, torch.Tensor]:
        """Return sensitivities that no matrix has more of than another."""
        generator = torch.Generator('cpu').manual_seed(0)
        return {
            name: torch.rand(layer.weight.shape, generator=generator, device='cpu')
            for name, layer in self.places(backbone).items()
        }

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets, each by LoRA or by its sensitive weights, if it has any."""
        for name, layer in self.places(backbone).items():
            text = self.choice[name]
            if text is None:
                replace_module(backbone, name, LoRALinear(layer, **self.settings))
            elif len(positions := decode_positions(text)):
                replace_module(backbone, name, SparseLayer(layer, positions))

    def merge(self, backbone: nn.Module) -> None:
        """Add the updates to the weights."""
        merge_layers(backbone, SparseLayer, LoRALinear)


def _most_within(budget: int, holders: torch.Tensor, lora: torch.Tensor, alpha: float) -> int:
    """Return how many of the ranked weights count, so that what trains is within the budget.

    What trains grows with the number, since LoRA has at least as many parameters as it replaces.

    Args:
        budget: the most parameters that train.
        holders: the matrix of each weight, the most sensitive first.
        lora: parameters of LoRA by matrix.
        alpha: a matrix with ``lora / alpha`` of the weights gets LoRA.
    """

    def trained(number: int) -> float:
        counts = torch.bincount(holders[:number], minlength=len(lora))
        return float(torch.where(counts >= lora / alpha, lora, counts).sum())

    low, high = 0, len(holders)
    while low < high:
        middle = math.ceil((low + high) / 2)
        low, high = (middle, high) if trained(middle) <= budget else (low, middle - 1)
    return low
