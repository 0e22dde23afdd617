"""Identity of the backbone that a run adapted."""

import hashlib
import inspect
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from memba_vision.runs.base_models import architectures, read_base_model
from memba_vision.runs.presets import preset_names, read_preset

RANDOM = 'random'
#: Settings of a backbone without an ``arch`` that do not belong to its architecture.
NOT_ARCH = ('type', 'init_cfg', 'pretrained', 'drop_path_rate', 'with_cp')
SHOWN = 8  # digits of a fingerprint that a label has


@dataclass(frozen=True)
class Backbone:
    """Family, architecture and base weights: results of two backbones are never averaged.

    Attributes:
        family: the name of the class in lower case, as 'vim'.
        arch: family and architecture, as 'vim_small'; ``vim_custom_…`` with a digest for settings
            that no shipped model has. None: unknown.
        base: :func:`~memba_vision.weights.fingerprint` of the weights before they were adapted,
            'random' where none were loaded. None: unknown.
    """

    family: str = 'vim'
    arch: str | None = None
    base: str | None = None


#: The backbone of results of version 0.1.
UNKNOWN = Backbone()


def backbone_of(config: Mapping[str, Any], fingerprint: str | None = None) -> Backbone:
    """Return the backbone of a run's config.

    Args:
        config: of the run, also as its record has it.
        fingerprint: of the base weights; None: unknown.

    Raises:
        LookupError: the config has no model.
    """
    settings = backbone_settings(config)
    arch = _arch(settings)
    return Backbone(_family(settings), arch, fingerprint if _loads_weights(settings) else RANDOM)


def backbone_settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a config's backbone, as they are without adapters.

    Raises:
        LookupError: the config has no model.
    """
    model = config['model']
    settings = model.get('backbone') or model  # a model of the user's own may state none
    return settings.get('module') or settings


def backbone_labels(
    runs: Iterable[tuple[str, Backbone]],
) -> dict[tuple[str, Backbone], str]:
    """Return the name of the backbone of each method's runs; those of one name may be averaged.

    Two sets of base weights of one architecture have two names. Runs whose weights are unknown go
    with the others as long as these have the same weights. So do those of a method that begins with
    random weights, as ``scratch``: random weights in the place of those that a method adapts are
    another backbone.

    Args:
        runs: method and backbone of each run.
    """
    runs = set(runs)
    bases, loaded = defaultdict(set), set()
    for method, backbone in runs:
        if backbone.base != RANDOM:
            loaded.add((backbone.family, backbone.arch))
        if backbone.base not in (None, RANDOM):
            bases[backbone.family, backbone.arch].add(backbone.base)
            loaded.add((method, backbone.family, backbone.arch))

    def has_own_name(method: str, backbone: Backbone) -> bool:
        model = backbone.family, backbone.arch
        if len(bases[model]) > 1:
            return True
        is_beside_loaded = backbone.base == RANDOM and model in loaded
        return is_beside_loaded and ((method, *model) in loaded or _adapts_weights(method))

    return {run: _label(run[1], has_own_name(*run)) for run in runs}


def _adapts_weights(method: str) -> bool:
    """Return True for a shipped preset, maybe with settings behind it, that keeps the weights."""
    shipped, name = preset_names(), method
    while name and name not in shipped:
        name = name.rpartition('_')[0]
    if not name:
        return False  # one of the user's own, which may begin with any weights
    module = read_preset(name, {}).get('module', {})
    return 'init_cfg' not in module or bool(weight_files(module))


def _label(backbone: Backbone, with_base: bool) -> str:
    name = backbone.arch or backbone.family
    base = backbone.base[:SHOWN] if backbone.base else 'unknown base'
    return f'{name} ({base})' if with_base else name


def _family(settings: Mapping[str, Any]) -> str:
    kind = settings.get('type', 'unknown')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2].lower()


def weight_files(settings: Mapping[str, Any]) -> list[str]:
    """Return the files of weights that the ``init_cfg`` of a backbone's settings names."""
    init = settings.get('init_cfg') or {}
    steps = [init] if isinstance(init, Mapping) else init
    named = (step.get('checkpoint') for step in steps if isinstance(step, Mapping))
    return [str(place) for place in named if place]


def _loads_weights(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get('pretrained') or weight_files(settings))


def _arch(settings: Mapping[str, Any]) -> str:
    family = _family(settings)
    arch = settings.get('arch') or settings.get('model_name') or _default_arch(settings.get('type'))
    if arch is None:
        arch = {key: value for key, value in settings.items() if key not in NOT_ARCH}
    digest = _digest(arch)
    spelled = arch.replace('/', '-') if isinstance(arch, str) else f'custom_{digest}'
    # Folders are named by it.
    return _named_architectures().get((family, digest), f'{family}_{spelled}')


def _default_arch(kind: Any) -> Any:
    """Return the architecture of a backbone whose config names none."""
    from memba_vision.registry import MODELS  # needs torch

    import_module('memba_vision.models')  # enters them
    known = MODELS.module_dict.get(kind) if isinstance(kind, str) else kind
    parameter = inspect.signature(known).parameters.get('arch') if known else None
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


@cache
def _named_architectures() -> dict[tuple[str, str], str]:
    """Return the names of the shipped models by family and digest of their architecture.

    Of several that differ in their weights alone, the first gives its name.
    """
    found = {}
    for name in architectures():
        settings = read_base_model(name).model.backbone.module
        arch = settings.get('arch') or settings.get('model_name')
        found.setdefault((_family(settings), _digest(arch)), name.replace('-', '_'))
    return found


def shipped_name(config: Mapping[str, Any]) -> str | None:
    """Return the name of the shipped model whose architecture and weights a config adapts.

    None: it is another one. Models of one architecture may differ in their weights alone.
    """
    place = _checkpoint(backbone_settings(config))
    return _shipped_models().get((backbone_of(config).arch, place))


def shipped_names(arch: str) -> list[str]:
    """Return the names of all shipped models of an architecture."""
    return [name for (of_model, _), name in _shipped_models().items() if of_model == arch]


@cache
def _shipped_models() -> dict[tuple[str | None, str | None], str]:
    """Return the names of the shipped models by architecture and file of weights."""
    configs = {name: read_base_model(name) for name in architectures()}
    return {
        (backbone_of(config).arch, _checkpoint(config.model.backbone.module)): name
        for name, config in configs.items()
    }


def _checkpoint(settings: Mapping[str, Any]) -> str | None:
    init = settings.get('init_cfg') or {}
    return init.get('checkpoint') if isinstance(init, Mapping) else None


def _digest(settings: Mapping[str, Any] | str) -> str:
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:SHOWN]
