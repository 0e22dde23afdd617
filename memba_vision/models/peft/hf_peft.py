"""The methods of Hugging Face's peft library, as adapters like those of this package."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import Adapter, find_targets, replace_module
from memba_vision.models.peft.lora import check_targets
from memba_vision.registry import ADAPTERS

#: What peft raises where settings do not fit a method or a layer.
PEFT_ERRORS = (TypeError, ValueError, KeyError, AttributeError, RuntimeError, NotImplementedError)

#: Methods that want what Vim or this package's training does not have: a budget that the training
#: loop moves on, the number of the task in every call, an embedding.
UNUSABLE = ('ADALORA', 'POLY', 'TRAINABLE_TOKENS')

#: Ways to initialise LoRA that subtract its start from the frozen weights.
REWRITE_THE_BASE = ('pissa', 'olora', 'loftq')


def import_peft() -> ModuleType:
    """The peft library.

    Raises:
        UserError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise UserError(
            f'HFPeft needs the package peft ({error}): pip install "memba_vision[peft]"'
        ) from error
    return peft


@ADAPTERS.register_module()
class HFPeft(Adapter):
    """Any method of the peft library that changes linear layers or 2D convolutions.

    Formula, sizes and sources are in peft's documentation. The projections that it wraps keep
    their places, so it goes with the adapters of this package on other targets.

    Args:
        peft_type: the method, as peft's ``PeftType`` spells it: 'LORA', 'VERA', 'OFT', …
        target_modules: names of layers, as for :class:`memba_vision.models.peft.lora.LoRA`.
        settings: whatever else the method's config takes (``r``, ``lora_alpha``, …).
    """

    def __init__(self, peft_type: str, target_modules: Sequence[str], **settings: Any) -> None:
        peft = import_peft()
        check_targets('HFPeft', target_modules)
        known = sorted(kind.name for kind in peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING)
        if peft_type not in known or peft_type in UNUSABLE:
            usable = ', '.join(name for name in known if name not in UNUSABLE)
            raise UserError(f'HFPeft: peft_type {peft_type!r} cannot be used; known are {usable}')
        _check_initialisation(settings.get('init_lora_weights'))
        settings = dict(settings, peft_type=peft_type, target_modules=list(target_modules))
        self.targets = tuple(target_modules)
        try:
            self.config = peft.get_peft_config(settings)
        except PEFT_ERRORS as error:
            raise UserError(f'HFPeft {peft_type}: {_one_line(error)}') from error
        if self.config.is_prompt_learning or self.config.is_adaption_prompt:
            raise UserError(
                f'HFPeft: {peft_type} needs a transformer; PromptTuning and AffixTuning of this '
                'package put tokens into Vim'
            )

    def attach(self, backbone: nn.Module) -> None:
        """Let peft wrap the targets; ``peft_model`` is its handle to them."""
        find_targets(backbone, self.targets, [nn.Linear, nn.Conv2d])
        trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # about models of transformers
                self.peft_model = import_peft().get_peft_model(backbone, self.config)
        except PEFT_ERRORS as error:
            name = self.config.peft_type.name
            raise UserError(f'HFPeft {name}: {_one_line(error)}') from error
        for parameter in trained:  # peft freezes all that is not its own
            parameter.requires_grad_(True)

    def merge(self, backbone: nn.Module) -> str | None:
        """Merge as peft does, if the method can be."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils import ModulesToSaveWrapper

        layers = {n: m for n, m in backbone.named_modules() if isinstance(m, BaseTunerLayer)}
        try:
            for layer in layers.values():
                layer.merge()
        except PEFT_ERRORS as error:
            name = self.config.peft_type.name
            return f'HFPeft {name} stays: peft cannot merge it ({_one_line(error)})'
        for name, layer in layers.items():
            replace_module(backbone, name, layer.get_base_layer())
        for name, module in list(backbone.named_modules()):
            if isinstance(module, ModulesToSaveWrapper):
                replace_module(backbone, name, module.modules_to_save[module.active_adapters[0]])
        return None

    def save_hf(self, backbone: nn.Module, folder: Path) -> None:
        """Save as peft does."""
        self.peft_model.save_pretrained(str(folder))


def _check_initialisation(wanted: object) -> None:
    if isinstance(wanted, str) and wanted.startswith(REWRITE_THE_BASE):
        raise UserError(
            f'HFPeft: init_lora_weights={wanted!r} rewrites the frozen weights, which a checkpoint '
            "of adapters does not hold: choose True, 'gaussian' or 'orthogonal'"
        )


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
