"""Memba as a preset of adapters."""

from collections.abc import Sequence

from memba_vision.models.peft.model import PEFTModel
from memba_vision.registry import MODELS


@MODELS.register_module()
class MembaModel(PEFTModel):
    """Memba (ICLR 2026): LoRA on the projections and a membrane on the gate of a frozen Vim.

    A preset of :class:`PEFTModel` with the adapters :class:`LoRA` and :class:`LIM`, which describe
    the arguments. On Vim-S the defaults train 4,718,592 parameters.
    """

    def __init__(
        self,
        module: dict,
        rank: int = 64,
        scale: float = 0.1,
        drop_rate: float = 0.1,
        targets: Sequence[str] = ('in_proj', 'out_proj'),
        site: str = 'lora',
        num_chunks: int = 4,
        leak: float = 0.9,
        threshold: float | None = 1.0,
        cross_layer: bool = True,
    ) -> None:
        lora = dict(type='LoRA', targets=targets, rank=rank, scale=scale, drop_rate=drop_rate)
        lim = dict(
            type='LIM',
            site=site,
            num_chunks=num_chunks,
            leak=leak,
            threshold=threshold,
            cross_layer=cross_layer,
        )
        super().__init__(module, adapters=[lora, lim])
