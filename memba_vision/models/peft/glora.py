"""GLoRA (Chavan et al. 2023): scales and shifts of weights and biases, of several forms."""

from collections.abc import Sequence

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.linear import DeltaLinear, project_delta
from memba_vision.models.peft.adapter import AdaptedLayer, Adapter, merge_layers, replace_module
from memba_vision.models.peft.low_rank import check_low_rank
from memba_vision.models.peft.targets import check_targets, find_targets
from memba_vision.models.sites import check_share_of_blocks
from memba_vision.ops import linear
from memba_vision.registry import ADAPTERS

#: The forms that each of the five supports can have.
FORMS = {
    **dict.fromkeys('AB', ('lora', 'vector', 'scalar', 'none')),
    'C': ('lora', 'vector', 'none'),
    **dict.fromkeys('DE', ('vector', 'scalar', 'none')),
}


class Support(nn.Module):
    """A matrix that trains, and is zero at the start.

    Args:
        form: 'lora' (a product of two factors), 'vector' (one value a row), 'scalar' or 'none'.
        rows: rows.
        columns: columns.
        rank: width between the factors.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, form: str, rows: int, columns: int, rank: int, like: torch.Tensor) -> None:
        super().__init__()
        sizes = {'lora': (rows, rank), 'vector': (rows, 1), 'scalar': (1, 1)}
        self.up = nn.Parameter(like.new_zeros(sizes[form])) if form in sizes else None
        self.down = nn.Parameter(like.new_empty(rank, columns)) if form == 'lora' else None
        if self.down is not None:
            nn.init.xavier_uniform_(self.down)

    def forward(self) -> torch.Tensor | float:
        """Return what broadcasts to (rows, columns)."""
        if self.up is None:
            return 0.0
        return self.up if self.down is None else self.up @ self.down


class GeneralizedLinear(AdaptedLayer):
    """Projection ``y = (W + W ⊙ A + B) h + b + b ⊙ D + E + W C``, all supports zero at the start.

    Without a bias in the projection there is nothing but ``A`` and ``B``, so that all of it folds.

    Args:
        base_layer: the frozen projection, in_features to out_features.
        forms: the form of each support by its letter; see :data:`FORMS`.
        rank: width of those of low rank.
    """

    def __init__(self, base_layer: nn.Module, forms: dict[str, str], rank: int) -> None:
        super().__init__(base_layer)
        outputs, inputs = base_layer.weight.shape
        shapes = dict(A=(outputs, inputs), B=(outputs, inputs))
        if base_layer.bias is not None:
            shapes |= dict(C=(inputs, 1), D=(outputs, 1), E=(outputs, 1))
        self.supports = nn.ModuleDict(
            {
                name: Support(forms[name], *shape, rank, base_layer.weight)
                for name, shape in shapes.items()
                if forms[name] != 'none'
            }
        )

    def _support(self, name: str) -> torch.Tensor | float:
        return self.supports[name]() if name in self.supports else 0.0

    def weights(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return weight and bias of a plain layer that computes the same."""
        weight, bias = self.base_layer.weight, self.base_layer.bias
        if bias is not None:
            column = bias[:, None] * (1 + self._support('D')) + self._support('E')
            if 'C' in self.supports:
                column = column + weight @ self._support('C')
            bias = column[:, 0]
        return weight * (1 + self._support('A')) + self._support('B'), bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        weight, bias = self.weights()
        if isinstance(self.base_layer, DeltaLinear):
            return project_delta(hidden, weight, bias)
        return linear(hidden, weight, bias)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the projection with the supports in its weight and its bias."""
        weight, bias = self.weights()
        self.base_layer.weight.copy_(weight)
        if bias is not None:
            self.base_layer.bias.copy_(bias)
        return self.base_layer


@ADAPTERS.register_module()
class GLoRA(Adapter):
    """Scale and shift of the weights and biases of projections, by supports of several forms.

    With all supports of the largest form it trains ``2 * rank * (in_features + out_features)``
    parameters per projection, and ``rank * (in_features + 1) + 2 * out_features`` where it has a
    bias; rank 4 on the projections of Vim-S makes 589,824. The paper chooses the forms layer by
    layer, by an evolutionary search in a network that has them all; ``configs/search/glora.py``
    searches for them, each trial being a training. Source: Chavan et al. 2023, sections 2.2 to 2.4,
    and the authors' code.

    Args:
        targets: names or roles of linear layers.
        A: form of the scale of the weight: 'lora', 'vector', 'scalar' or 'none'.
        B: form of the shift of the weight, likewise.
        C: form of the shift of the input: 'lora', 'vector' or 'none'.
        D: form of the scale of the bias: 'vector', 'scalar' or 'none'.
        E: form of the shift of the bias, likewise.
        rank: width of the supports of low rank.
        blocks: see :func:`memba_vision.models.sites.check_share_of_blocks`.
    """

    def __init__(
        self,
        targets: Sequence[str] = ('branch_proj',),
        A: str = 'lora',
        B: str = 'lora',
        C: str = 'lora',
        D: str = 'vector',
        E: str = 'vector',
        rank: int = 4,
        blocks: Sequence[float] | None = None,
    ) -> None:
        check_targets('GLoRA', targets)
        check_low_rank('GLoRA', rank, 0.0)
        check_share_of_blocks('GLoRA', blocks)
        self.targets, self.rank, self.blocks = tuple(targets), rank, blocks
        self.forms = dict(A=A, B=B, C=C, D=D, E=E)
        for name, form in self.forms.items():
            if form not in FORMS[name]:
                known = ', '.join(FORMS[name])
                raise UserError(f'GLoRA: unknown form {form!r} of {name}; known are {known}')
        if set(self.forms.values()) == {'none'}:
            raise UserError('GLoRA: all supports are "none", so nothing trains: give A or B a form')

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets."""
        found = find_targets(backbone, self.targets, [nn.Linear], blocks=self.blocks)
        layers = {n: GeneralizedLinear(layer, self.forms, self.rank) for n, layer in found.items()}
        if not any(len(adapted.supports) for adapted in layers.values()):
            raise UserError(
                f'GLoRA: A and B are "none" and no layer of {", ".join(self.targets)} has a bias, '
                'so nothing trains: give A or B a form'
            )
        for name, adapted in layers.items():
            if len(adapted.supports):
                replace_module(backbone, name, adapted)

    def merge(self, backbone: nn.Module) -> None:
        """Put the supports into the weights."""
        merge_layers(backbone, GeneralizedLinear)
