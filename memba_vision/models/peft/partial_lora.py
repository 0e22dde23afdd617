"""Partial LoRA: a low-rank update of the rows of a projection that make one quantity."""

from memba_vision.errors import UserError
from memba_vision.models.peft.lora import LoRA
from memba_vision.registry import ADAPTERS

#: The role of each part's rows.
ROLE_OF = {'x': 'mix.x', 'z': 'mix.z', 'delta': 'mix.delta', 'B': 'mix.B', 'C': 'mix.C'}


@ADAPTERS.register_module()
class PartialLoRA(LoRA):
    """LoRA on the rows of ``in_proj`` or ``x_proj`` that make one of x, z, Δ, B and C.

    Trains ``rank * (in_features + rows)`` parameters per projection; with rank 64 on Vim-S, 'x'
    and 'z' make 1,769,472, 'delta' 2,433,024, 'B' and 'C' 2,408,448 (both directions). Several
    parts may be adapted, each by a PartialLoRA of its own; ``LoRA`` with the roles of the rows as
    targets is the same. Source: Yoshimura et al. 2025 (MambaPEFT), section 3.2, "LoRAp".

    Args:
        part: 'x' or 'z' (the halves of ``in_proj``), 'delta', 'B' or 'C' (rows of the projections
            to them, in both directions).
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self, part: str = 'x', rank: int = 64, scale: float = 0.1, drop_rate: float = 0.1
    ) -> None:
        if part not in ROLE_OF:
            raise UserError(f'PartialLoRA: unknown part {part!r}; known are {", ".join(ROLE_OF)}')
        super().__init__([ROLE_OF[part]], rank, scale, drop_rate)
