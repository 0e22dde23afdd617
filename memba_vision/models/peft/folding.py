"""Classifiers for inference, whose adapters are folded into the weights."""

import copy
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.model import LooksIntoBackbone, PEFTModel

REFUSAL = (
    'the adapters of this model are folded into its weights, for inference alone: {instead} the '
    'model that was given to memba_vision.fold'
)


class FoldedBackbone(LooksIntoBackbone):
    """Backbone that computes what an adapted one does, its adapters folded as far as they can be.

    It neither trains nor takes or gives weights: those of the adapters are no longer there.
    Attributes that the wrapper lacks are looked up in the backbone.

    Args:
        adapted: stays as it is.

    Attributes:
        module: a copy of its backbone, in evaluation mode.
        stays: for each adapter of which something is not folded, a line that says what and why.
        header: the header of ``adapted``.
    """

    def __init__(self, adapted: PEFTModel) -> None:
        super().__init__()
        self.module, self.stays = adapted.merge()
        self.header = adapted.header
        self.eval()
        self._register_state_dict_hook(_refuse_to_save)
        self.register_load_state_dict_pre_hook(_refuse_to_load)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the backbone."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> 'FoldedBackbone':
        """Stay in evaluation mode.

        Raises:
            UserError: it is asked to train.
        """
        if mode:
            raise UserError(REFUSAL.format(instead='train'))
        return super().train(False)


def _refuse_to_save(*_: Any) -> None:
    raise UserError(REFUSAL.format(instead='save'))


def _refuse_to_load(*_: Any) -> None:
    raise UserError(REFUSAL.format(instead='load weights into'))


@torch.no_grad()
def fold(model: nn.Module) -> nn.Module:
    """Return a model for inference that computes what ``model`` does, its adapters folded.

    LoRA and what else becomes a part of the weights costs nothing then. Of Memba, the LoRA of
    ``out_proj`` and of the rows of ``in_proj`` that lead to the scan is folded; the membrane, and
    the rows that lead through it, stay. What :meth:`PEFTModel.merge` says to stay, stays. Weights
    are summed as they are, in float32 as a rule, and rounded under autocast as one: in float32,
    features differ by some 1e-6 of their size from those of ``model``, in bfloat16 by as much as
    bfloat16 resolves.

    Args:
        model: a classifier with a ``backbone``, or an adapted backbone. It stays as it is, and the
            result shares its other parts, the head for instance; the backbone is copied.

    Returns:
        The folded model, whose backbone is in evaluation mode, and can neither train nor be saved;
        ``model`` itself where there are no adapters, or they are folded already.
    """
    if isinstance(model, PEFTModel):
        return FoldedBackbone(model) if model.adapters else model
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, PEFTModel) or not backbone.adapters:
        return model
    folded = copy.copy(model)
    folded._modules = {**model._modules, 'backbone': FoldedBackbone(backbone)}
    return folded
