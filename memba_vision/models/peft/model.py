"""Wrapper that freezes a backbone and adapts it."""

import copy
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModule
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.backbones.initialization import initialize_backbone
from memba_vision.models.parameter_counts import count_parameters
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.selection import SelectingAdapter, is_undecided
from memba_vision.models.peft.sharing import trained_norms
from memba_vision.registry import ADAPTERS, MODELS
from memba_vision.weights import ADAPTER_HEADER as HEADER
from memba_vision.weights import fingerprint, rounded_fingerprint
from memba_vision.weights.provenance import source_of


class LooksIntoBackbone(nn.Module):
    """Wrapper that looks attributes that it lacks up in its backbone, ``module``."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the backbone."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            module = self.__dict__.get('_modules', {}).get('module')
            if module is None:
                raise
        return getattr(module, name)


@MODELS.register_module()
class PEFTModel(LooksIntoBackbone, BaseModule):
    """Frozen backbone with adapters; only the adapters train and are saved.

    The backbone is built, its pre-trained weights are loaded, and it is frozen; then each adapter
    changes it in turn. The adapters own the parameters that require a gradient afterwards: the
    state dict holds these alone, with a header that names the method, the adapters with all their
    settings and the :func:`~memba_vision.weights.fingerprint` of the base weights that stay
    frozen. Loading checks adapters, settings and fingerprint, and takes the same base in bfloat16
    or for images of another size for the same; a preset and its adapters spelled out are the same.
    Tensors that adapters add but do not train (peft's random projections, for instance) are saved
    too, and so are frozen weights that they rewrote. Statistics of a BatchNorm in the backbone stay
    those of the base, unless all of its parameters train. Attributes that the wrapper lacks
    (``embed_dims``, ``out_indices``, …) are looked up in the backbone.

    Adapters that choose by data (:mod:`memba_vision.models.peft.selection`) wait for their choice,
    and all others with them: the backbone is as it was pre-trained until :meth:`decide` gives them
    one, or a checkpoint that is loaded does. Before that it does not train.

    Args:
        module: config of the backbone, or the backbone itself with its weights loaded.
        adapters: configs of the adapters, in the order they are attached. None at all is linear
            probing.
        init_cfg: None; the weights are those of ``module``.

    Raises:
        UserError: an unknown adapter, a target that does not exist, settings out of range, a choice
            for another backbone, or an ``init_cfg`` outside ``module``.
    """

    def __init__(
        self, module: dict | nn.Module, adapters: Sequence[dict] = (), init_cfg: None = None
    ) -> None:
        if init_cfg is not None:
            raise UserError(
                f'{type(self).__name__} has no weights of its own, got init_cfg={init_cfg!r}: put '
                'it into module (model.backbone.module.init_cfg)'
            )
        super().__init__()
        if isinstance(module, dict):
            module = MODELS.build(module)
            initialize_backbone(module)
        self.module = module
        self._attach(adapters)
        self._register_state_dict_hook(_keep_owned)
        self.register_load_state_dict_pre_hook(_check)
        self.register_load_state_dict_post_hook(_forget_the_base)
        self._base_names: frozenset[str] = frozenset()

    def _attach(
        self,
        configs: Sequence[dict],
        selection: dict | None = None,
        starts: Sequence[dict[str, torch.Tensor]] = (),
    ) -> None:
        """Attach adapters to the backbone; all wait where one of them has no choice."""
        adapters = _build_adapters(configs)
        self.module.requires_grad_(False)
        _check_choices(self.module, adapters)
        base = self.module.state_dict(keep_vars=True)
        #: Of all weights before they are adapted; the header has that of those that stay frozen.
        self.base_fingerprint = fingerprint(base)
        self.adapters = adapters
        #: The adapters whose choice is to be made still, by their places in the list.
        self.undecided = tuple(n for n, a in enumerate(self.adapters) if is_undecided(a))
        _attach_all(self.module, [] if self.undecided else self.adapters, starts)
        rewritten = {id(weight) for adapter in self.adapters for weight in adapter.rewritten}
        weights = {name: w for name, w in base.items() if id(w) not in rewritten}
        frozen = {name: weight for name, weight in weights.items() if not weight.requires_grad}
        self.header = {
            'method': type(self).__name__,
            'adapters': [_full_settings(config) for config in configs],
            'base': fingerprint(frozen) if len(frozen) < len(base) else self.base_fingerprint,
            'rounded': rounded_fingerprint(frozen),
        } | ({'selection': selection} if selection else {})
        self._configs = [dict(config) for config in configs]
        self._owned = _owned(self.module, weights)
        self._keep_statistics()

    def decide(
        self,
        choices: Sequence[dict | None],
        selection: dict | None = None,
        starts: Sequence[dict[str, torch.Tensor]] = (),
    ) -> None:
        """Attach the adapters with their choices.

        Args:
            choices: one for each adapter, None for those that choose nothing.
            selection: a note for the header on what the choices were made of.
            starts: values at the start of parameters by their paths, for each adapter; or none.

        Raises:
            UserError: they are of another backbone, which stays as it is.
        """
        decided = [
            {**config, 'choice': choice} if number in self.undecided else config
            for number, (config, choice) in enumerate(zip(self._configs, choices, strict=True))
        ]
        self._attach(decided, selection, starts)
        self.train(self.training)  # the new modules too

    def decide_without_data(self) -> None:
        """Attach the adapters with choices that prefer nothing: they are as large and as fast."""
        choices = [
            adapter.choose(self.module, adapter.without_data(self.module))
            if is_undecided(adapter)
            else None
            for adapter in self.adapters
        ]
        self.decide(choices)

    def take_choices(self, state_dict: dict, prefix: str) -> None:
        """Have adapters that wait for a choice take the one in a saved state dict, if it fits.

        Args:
            state_dict: of a model with the same adapters.
            prefix: the name of this one in it, with a dot.
        """
        header = state_dict.get(prefix + HEADER)
        if header is not None:
            _take_choices(self, parse_header(header))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter in the backbone; see the backbone's method."""
        return self.module.get_layer_depth(param_name, f'{prefix}module.')

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the adapted backbone."""
        if self.undecided and self.training:
            raise UserError(
                f'{type(self.adapters[self.undecided[0]]).__name__} chooses by data what it '
                'trains, and has not: train with tools/train.py, or call '
                'memba_vision.engine.selection.decide(classifier, loader) before the training'
            )
        return self.module(*args, **kwargs)

    def init_weights(self) -> None:
        """Do nothing: the backbone's weights were loaded before it was adapted."""
        self._is_init = True

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that the adapters own, by their name in the backbone."""
        return {n: p for n, p in self.module.named_parameters() if p.requires_grad}

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """Return the number of trained and of all parameters, as models of peft do.

        The head is no part of the backbone and does not count.
        """
        return count_parameters(self.module)

    def print_trainable_parameters(self) -> None:
        """Print the line that models of peft print on trained and all parameters."""
        trained, total = self.get_nb_trainable_parameters()
        sys.stdout.write(
            f'trainable params: {trained:,} || all params: {total:,} || '
            f'trainable%: {100 * trained / total:.4f}\n'
        )

    def train(self, mode: bool = True) -> 'PEFTModel':
        """Set the training mode, but keep the base's running statistics fixed."""
        super().train(mode)
        self._keep_statistics()
        return self

    def _keep_statistics(self) -> None:
        for name, module in self.module.named_modules():
            has_statistics = getattr(module, 'running_mean', None) is not None
            if has_statistics and _dotted(name, 'running_mean') not in self._owned:
                module.eval()

    def merge(self) -> tuple[nn.Module, list[str]]:
        """Fold the adapters into a copy of the backbone, as far as they can be.

        Sums are in the dtype of the weights, under autocast too.

        Returns:
            The copy, in evaluation mode, and the reasons of the adapters that are still in it. If
            there are none, the copy is a plain backbone with the official key names.
        """
        backbone = copy.deepcopy(self.module)
        backbone.eval()
        attached = [] if self.undecided else self.adapters
        with torch.autocast(next(backbone.parameters()).device.type, enabled=False):
            reasons = [adapter.merge(backbone) for adapter in attached]
        return backbone.requires_grad_(False), [reason for reason in reasons if reason]

    def save_hf(self, folder: str | Path) -> None:
        """Write the adapter in the format of Hugging Face's peft, for a plain backbone.

        Raises:
            UserError: there is not one adapter, or peft has no such method.
        """
        if len(self.adapters) != 1:
            names = ', '.join(type(adapter).__name__ for adapter in self.adapters) or 'none'
            raise UserError(f"peft's format holds one method, but the adapters here are: {names}")
        self.adapters[0].save_hf(self.module, Path(folder))


def attach_adapters(module: nn.Module, configs: Sequence[dict]) -> list[Adapter]:
    """Freeze ``module`` and let each adapter change it in turn.

    Args:
        module: the backbone; the adapters own the parameters that require a gradient afterwards.
        configs: configs of the adapters. One that chooses by data, and has not, chooses without.

    Raises:
        UserError: an unknown adapter, a target that does not exist, or settings out of range.
    """
    adapters = _build_adapters(configs)
    module.requires_grad_(False)
    for adapter in filter(is_undecided, adapters):
        adapter.choice = adapter.choose(module, adapter.without_data(module))
    _check_choices(module, adapters)
    _attach_all(module, adapters)
    return adapters


def _check_choices(module: nn.Module, adapters: Sequence[Adapter]) -> None:
    """Raise a UserError where a choice is of another backbone than ``module``, not adapted yet."""
    for adapter in adapters:
        if isinstance(adapter, SelectingAdapter) and adapter.choice is not None:
            adapter.check_choice(module)


def _attach_all(
    module: nn.Module,
    adapters: Sequence[Adapter],
    starts: Sequence[dict[str, torch.Tensor]] = (),
) -> None:
    for adapter, values in zip_longest(adapters, starts[: len(adapters)], fillvalue={}):
        adapter.attach(module)
        _start_from(module, values)  # before the next one may wrap what this one has put in


@torch.no_grad()
def _start_from(module: nn.Module, values: dict[str, torch.Tensor]) -> None:
    for path, value in values.items():
        module.get_parameter(path).copy_(value)


def _owned(module: nn.Module, base: dict[str, torch.Tensor]) -> frozenset[str]:
    """Return the names of an adapted backbone's tensors that train or are not of the base."""
    saved = module.state_dict(keep_vars=True)
    statistics = {id(buffer) for norm in trained_norms(module) for buffer in norm.buffers()}
    of_base = {id(tensor) for tensor in base.values()} - statistics
    tensors = [*module.named_parameters(), *module.named_buffers()]  # shared ones once
    return frozenset(
        name
        for name, tensor in tensors
        if name in saved and (tensor.requires_grad or id(tensor) not in of_base)
    )


def _dotted(*parts: str) -> str:
    return '.'.join(filter(None, parts))


def _build_adapters(configs: Sequence[dict]) -> list[Adapter]:
    if not isinstance(configs, list | tuple) or not all(isinstance(c, Mapping) for c in configs):
        raise UserError(f'adapters must be a list of dict(type=…, …), got {configs!r}')
    return [_build_adapter(config) for config in configs]


def _build_adapter(config: dict) -> Adapter:
    name = config.get('type')
    if name not in ADAPTERS.module_dict:
        known = ', '.join(sorted(ADAPTERS.module_dict))
        raise UserError(f'unknown adapter {name!r}; known are {known}')
    try:
        return ADAPTERS.build(config)
    except TypeError as error:
        raise UserError(f'adapter {name}: {error}') from error


def _full_settings(config: dict) -> dict:
    """Return the config with all defaults written out, with JSON's types.

    Settings that came later are left out where they have their defaults, as older files have it.
    """
    kind = ADAPTERS.get(config['type'])
    parameters = inspect.signature(kind).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not parameter.empty
    }
    settings = {**defaults, **config}
    for name in getattr(kind, 'added_later', ()):
        if name in settings and settings[name] == defaults.get(name):
            del settings[name]
    try:
        return json.loads(json.dumps(settings, default=_as_python))
    except TypeError as error:
        raise UserError(
            f'adapter {config["type"]}: {error}, and checkpoints state the settings: give numbers, '
            'texts, lists or dicts of these'
        ) from error


def _as_python(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f'a setting is {value!r}')


def _keep_owned(model: PEFTModel, state_dict: dict, prefix: str, _: dict) -> None:
    """Reduce a state dict of all tensors to those that the adapters own, and the header."""
    base = f'{prefix}module.'
    owned = {base + name for name in model._owned}
    for key in [key for key in state_dict if key.startswith(base) and key not in owned]:
        del state_dict[key]
    state_dict[prefix + HEADER] = header_tensor(model.header)


def _check(model: PEFTModel, state_dict: dict, prefix: str, local_metadata: dict, *_: Any) -> None:
    """Check the header of a state dict that is being loaded, and that it has every key it should.

    The base weights are not in it, and stay as they are. Where it was read from a file, a backbone
    wants all of its names there, and gets its own weights.
    """
    header = state_dict.pop(prefix + HEADER, None)
    if header is None:
        raise UserError(
            'the checkpoint has no adapter header: it was not saved by a PEFTModel, or not whole'
        )
    held = parse_header(header)
    _take_choices(model, held)
    _check_header(held, model.header)
    given = {key for key in state_dict if key.startswith(f'{prefix}module.')}
    expected = {f'{prefix}module.{name}' for name in model._owned}
    missing = expected - given - {f'{prefix}module.{name}' for name in _statistics(model)}
    if missing or given - expected:
        problems = [f'missing {key}' for key in sorted(missing)]
        problems += [f'unexpected {key}' for key in sorted(given - expected)]
        raise UserError(f'the checkpoint does not fit the adapters: {"; ".join(problems)}')
    names = {f'{prefix}module.{name}' for name in model.module.state_dict(keep_vars=True)}
    model._base_names = frozenset(names - given)
    if source_of(local_metadata) is not None:
        for name, tensor in model.module.state_dict().items():
            state_dict.setdefault(f'{prefix}module.{name}', tensor)


def _take_choices(model: PEFTModel, held: dict) -> None:
    """Have adapters that wait for a choice take the one in the header of a checkpoint."""
    choices = [adapter.get('choice') for adapter in held['adapters']]
    same = _without_choices(held['adapters']) == _without_choices(model.header['adapters'])
    if model.undecided and same and all(choices[n] is not None for n in model.undecided):
        model.decide(choices, held.get('selection'))


def _without_choices(adapters: Sequence[dict]) -> list[dict]:
    """Return settings of adapters without what those of them that choose by data have chosen."""
    return [{k: v for k, v in settings.items() if k != 'choice'} for settings in adapters]


def _told(adapters: Sequence[dict]) -> str:
    """Return settings for an error's text; a choice may be as long as a book."""
    return json.dumps([{**a, 'choice': '…'} if a.get('choice') else a for a in adapters])


def _statistics(model: PEFTModel) -> set[str]:
    """Return the names of trained norms' statistics: version 0.1 kept the base's and saved none."""
    trained = {id(norm) for norm in trained_norms(model.module)}
    norms = ((n, m) for n, m in model.module.named_modules() if id(m) in trained)
    return {_dotted(name, buffer) for name, norm in norms for buffer, _ in norm.named_buffers()}


def _forget_the_base(model: PEFTModel, found: Any) -> None:
    """Take the names of the base off those that loading missed."""
    found.missing_keys[:] = [n for n in found.missing_keys if n not in model._base_names]


def header_tensor(header: dict) -> torch.Tensor:
    """Encode a header as a tensor for a state dict."""
    text = json.dumps(header, sort_keys=True).encode()
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def parse_header(header: torch.Tensor) -> dict:
    """Decode the tensor of :func:`header_tensor`.

    Raises:
        UserError: it is damaged.
    """
    try:
        return json.loads(header.cpu().numpy().tobytes())
    except ValueError as error:
        raise UserError(
            f'the adapter header of the checkpoint cannot be read ({error}): it was not saved by '
            'a PEFTModel, or not whole'
        ) from error


def _is_of_another_form(found: dict, expected: dict) -> bool:
    """Return True for the same base in another precision, or for images of another size."""
    one, other = found.get('rounded') or {}, expected['rounded']
    return one.get('digest') == other['digest'] and one.get('form') != other['form']


def _check_header(found: dict, expected: dict) -> None:
    # A setting that a header lacks, since it was added later, has its default.
    known = ADAPTERS.module_dict
    held = [_full_settings(a) if a.get('type') in known else a for a in found['adapters']]
    if held != expected['adapters']:
        raise UserError(
            f'the checkpoint is of other adapters: it holds {_told(found["adapters"])}, the '
            f'config asks for {_told(expected["adapters"])}'
        )
    if found['base'] != expected['base'] and not _is_of_another_form(found, expected):
        raise UserError(
            f'the checkpoint was trained over another base: its base weights have the fingerprint '
            f'{found["base"][:12]}, those of the config {expected["base"][:12]}; name the base '
            'weights that it was trained over in model.backbone.module.init_cfg'
        )
