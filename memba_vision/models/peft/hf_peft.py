"""Adapter for the methods of Hugging Face's peft library."""

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import Adapter, merging_into, replace_module
from memba_vision.models.peft.hf_targets import as_plain_linear, check_parameters, find_modules
from memba_vision.models.peft.targets import check_targets, name_these
from memba_vision.registry import ADAPTERS

#: The errors that peft raises for settings that do not fit a method or a layer.
PEFT_ERRORS = (TypeError, ValueError, KeyError, AttributeError, RuntimeError, NotImplementedError)

#: Methods that need something that vision Mambas or this package's training lack, with the reason.
UNUSABLE = {
    'ADALORA': 'the training loop has to move its budget of ranks on at every step',
    'ADAPTION_PROMPT': 'it goes into the attention of a transformer',
    'POLY': 'every call has to name the number of its task',
    'SHADOW': 'it builds a second, smaller transformer',
    'TRAINABLE_TOKENS': 'it trains rows of an embedding of words',
    'XLORA': 'it mixes LoRAs of a transformer that were trained before',
}

#: Initialisations of LoRA that need a pass over the training data before the first step.
NEED_DATA = ('corda', 'eva', 'lora_ga')


def import_peft() -> ModuleType:
    """Import and return the peft library.

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
    """Adapter for any method of peft that changes linear layers, 2D convolutions or norms.

    Formula, sizes and sources are in peft's documentation. The projections that it wraps keep
    their places, so it goes with the adapters of this package on other targets. Where a method
    rewrites frozen weights (LoRA's initialisations 'pissa' and 'olora'), a checkpoint holds those
    too.

    Args:
        peft_type: the method, as peft's ``PeftType`` spells it: 'LORA', 'VERA', 'OFT', …
        target_modules: names of layers, as for :class:`memba_vision.models.peft.lora.LoRA`; or, as
            peft has it, a regular expression of whole names, or 'all-linear'.
        target_parameters: names of matrices that are no layer's ``weight`` (``mixer.A_log``), for
            LoRA.
        settings: further arguments of the method's config (``r``, ``lora_alpha``, …).
    """

    def __init__(
        self,
        peft_type: str,
        target_modules: Sequence[str] | str = (),
        target_parameters: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        peft = import_peft()
        if not target_modules and not target_parameters:
            check_targets('HFPeft', target_modules)
        _check_method(peft, peft_type)
        _check_settings(settings)
        self.targets, self.parameters = target_modules, tuple(target_parameters)
        settings = dict(settings, peft_type=peft_type)
        if target_modules:
            is_text = isinstance(target_modules, str)
            settings['target_modules'] = target_modules if is_text else list(target_modules)
        if target_parameters:
            settings['target_parameters'] = list(target_parameters)
        try:
            self.config = peft.get_peft_config(settings)
        except PEFT_ERRORS as error:
            raise UserError(f'HFPeft {peft_type}: {_one_line(error)}') from error

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets by peft; ``peft_model`` is its handle to them."""
        name = self.config.peft_type.name
        targets = find_modules(backbone, self.targets, name) if self.targets else {}
        check_parameters(backbone, self.parameters)
        is_text = isinstance(self.targets, str)
        if targets and (is_text or not name_these(backbone, self.targets, targets)):
            self.config.target_modules = set(targets)
        trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
        weights = [(w, w.detach().clone()) for m in targets.values() for w in m.parameters()]
        try:
            with warnings.catch_warnings(), as_plain_linear(targets.values()):
                warnings.simplefilter('ignore')  # about models of transformers
                self.peft_model = import_peft().get_peft_model(backbone, self.config)
        except PEFT_ERRORS as error:
            raise UserError(f'HFPeft {name}: {_one_line(error)}') from error
        for parameter in trained:  # peft freezes all that is not its own
            parameter.requires_grad_(True)
        self.rewritten = [weight for weight, before in weights if not torch.equal(weight, before)]

    def merge(self, backbone: nn.Module) -> str | None:
        """Merge by peft, if the method can be merged."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils import ModulesToSaveWrapper

        layers = [n for n, m in backbone.named_modules() if isinstance(m, BaseTunerLayer)]
        for name in sorted(layers, key=lambda name: -name.count('.')):  # inner ones first
            layer = copy.deepcopy(backbone.get_submodule(name))  # merging can fail half-way
            try:
                with merging_into(layer.get_base_layer()):
                    layer.merge()
            except PEFT_ERRORS as error:
                method = self.config.peft_type.name
                return f'HFPeft {method} stays: peft cannot merge it ({_one_line(error)})'
            replace_module(backbone, name, layer.get_base_layer())
        for name, module in list(backbone.named_modules()):
            if isinstance(module, ModulesToSaveWrapper):
                replace_module(backbone, name, module.modules_to_save[module.active_adapters[0]])
        return None

    def save_hf(self, backbone: nn.Module, folder: Path) -> None:
        """Save by peft.

        Raises:
            UserError: the method rewrote frozen weights, which peft's files do not hold.
        """
        if self.rewritten:
            raise UserError(
                f'HFPeft {self.config.peft_type.name} rewrote frozen weights where it began, and '
                'the files of peft do not hold those: export it --as merged'
            )
        self.peft_model.save_pretrained(str(folder))


def _check_method(peft: ModuleType, peft_type: str) -> None:
    configs = peft.mapping.PEFT_TYPE_TO_CONFIG_MAPPING
    reasons = UNUSABLE | {
        kind.name: 'it puts tokens before those of a transformer; PromptTuning and AffixTuning of '
        'this package put tokens into Vim'
        for kind, config in configs.items()
        if issubclass(config, peft.PromptLearningConfig)
    }
    usable = sorted(kind.name for kind in configs if kind.name not in reasons)
    if peft_type not in usable:
        reason = f': {reasons[peft_type]}' if peft_type in reasons else ''
        raise UserError(
            f'HFPeft: peft_type {peft_type!r} cannot be used{reason}; known are {", ".join(usable)}'
        )


def _check_settings(settings: dict[str, Any]) -> None:
    wanted = settings.get('init_lora_weights')
    if isinstance(wanted, str) and wanted.startswith(NEED_DATA):
        raise UserError(
            f'HFPeft: init_lora_weights={wanted!r} wants a pass over the training data before the '
            "first step, which this package does not make: choose True, 'gaussian', 'orthogonal', "
            "'pissa' or 'olora'"
        )
    if settings.get('inference_mode'):
        raise UserError(
            'HFPeft: inference_mode=True freezes the adapter, so that nothing trains: leave it out'
        )


def _one_line(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f'{error} is missing, or unknown to it'
    return ' '.join(str(error).split()) or type(error).__name__
