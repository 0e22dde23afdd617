"""Check that settings are known: that the config has them, or that its classes would read them."""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import mmpretrain.registry
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.registry import Registry
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from torch.utils.data import DataLoader

from memba_vision.registry import ADAPTERS

MISSING = object()
#: Settings that an option decides whatever a config says, with that option.
OPTIONS = {'peft': '--peft', 'backbone': '--backbone', 'launcher': '--launcher'}
#: The same where several runs, or trials of a run, are told apart by what they try.
OPTIONS_OF_TRIALS = {**OPTIONS, 'randomness.seed': '--seed', 'work_dir': '--work-dir'}
_ALWAYS = ('type', '_delete_', '_scope_')
SHOWN = 3  # keys that an error proposes
_SLIP = 0.8  # similarity of a misspelling to the intended name, by difflib

# Keys that a runner reads besides its arguments, and keys that the package reads.
_TOP = (
    *('activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval'),
    *('find_unused_parameters', 'model_wrapper_cfg', 'sync_bn'),
    *('task', 'fold_adapters', 'keep_features', 'cuda_graphs'),
)
_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
_LOADER = ('batch_sampler', 'collate_fn', 'num_batch_per_epoch', 'disable_subprocess_warning')

#: The types of places that need not state one.
_TYPES = dict.fromkeys(('data_preprocessor', 'model.data_preprocessor'), 'ClsDataPreprocessor')
#: Readers of the settings of places without a type: functions or classes, and more names.
_READERS: tuple[tuple[str, tuple[Callable, ...], tuple[str, ...]], ...] = (
    ('', (Runner,), _TOP),
    ('(train|val|test)_dataloader', (DataLoader,), _LOADER),
    ('val_cfg', (ValLoop,), ()),
    ('test_cfg', (TestLoop,), ()),
    ('optim_wrapper', (OptimWrapper,), ('constructor', 'paramwise_cfg')),
    (
        'optim_wrapper.clip_grad',
        (torch.nn.utils.clip_grad_norm_, torch.nn.utils.clip_grad_value_),
        (),
    ),
    ('default_hooks', (), _HOOKS),
    ('randomness', (Runner.set_randomness,), ()),
    ('env_cfg', (), ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')),
    ('env_cfg.mp_cfg', (), ('mp_start_method', 'opencv_num_threads')),
    ('env_cfg.dist_cfg', (torch.distributed.init_process_group,), ('port',)),
    ('auto_scale_lr', (), ('enable', 'base_batch_size')),
    (r'model\.train_cfg', (), ('augments', 'probs')),
    ('log_processor', (LogProcessor,), ()),
    ('compile', (torch.compile,), ('target',)),
    ('custom_imports', (), ('imports', 'allow_failed_imports')),
)


def find_setting(config: Config, key: str, default: Any = MISSING) -> Any:
    """Return the setting with a dotted key, or ``default`` if there is none (None is a value)."""
    value = config
    for part in key.split('.'):
        try:
            value = value[int(part)] if isinstance(value, list | tuple) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return default
    return value


def reason_decided(key: str, options: Mapping[str, str] = OPTIONS) -> str | None:
    """Return the reason why a setting is not to be set, as an option decides it; None if none does.

    Args:
        key: the dotted key.
        options: settings, and the options that decide them.
    """
    for setting, option in options.items():
        if key.removesuffix('+') in (setting, setting.partition('.')[0]):
            return f'{setting} is what {option} says: give that in its place'
    return None


def reason_ignored(key: str, before: Config, config: Config) -> str | None:
    """Return the reason why a setting would be ignored, with similar keys; None if it is read.

    Args:
        key: the dotted key.
        before: the config without the setting.
        config: the config with this and other settings, which may name classes that read it.
    """
    parts = key.split('.')
    if parts[0] not in _names(config, '') and parts[0] in before:
        return (
            f'{parts[0]} is a variable of the config file, which nothing reads once the file has '
            f'been read{_proposal(key, before, config)}'
        )
    for depth, name in enumerate(parts):
        place = '.'.join(parts[:depth])
        if find_setting(before, '.'.join(parts[: depth + 1])) is not MISSING:
            continue
        beside = find_setting(before, place) if place else None
        names = _names(config, place)
        if not _is_taken(name, beside, names) and not _is_new_hook(config, place, name):
            return missing(key, before, config)
    return None


def missing(key: str, before: Config, config: Config | None = None) -> str:
    """Return a line on a key that a config does not have; see :func:`reason_ignored`."""
    return f'the config has no {key}{_proposal(key, before, config or before)}'


def _is_new_hook(config: Config, place: str, name: str) -> bool:
    hook = find_setting(config, f'{place}.{name}')
    return place == 'default_hooks' and isinstance(hook, Mapping) and 'type' in hook


def _is_taken(name: str, beside: Any, names: set[str] | None) -> bool:
    """Return True for one of ``names`` or, where these are not known, for no slip of the pen."""
    if names is not None:
        return name in names
    present = list(beside) if isinstance(beside, Mapping) else []
    return not difflib.get_close_matches(name, present, 1, _SLIP)


def _names(config: Config, place: str) -> set[str] | None:
    """Return the names of the settings that are read at a place; None where that is not known."""
    holder = find_setting(config, place) if place else config.to_dict()
    if not isinstance(holder, Mapping):
        return set()
    kind = holder.get('type', _TYPES.get(place)) if place else None
    if kind is None:
        readers, more = _readers_of(place, holder)
    else:
        readers, more = _classes(kind), ()
    if not readers and not more:
        return None
    found = [_parameters(reader) for reader in readers]
    return None if None in found else set(_ALWAYS).union(more, *found)


def _readers_of(place: str, holder: Mapping) -> tuple[list[Callable], tuple[str, ...]]:
    if place == 'train_cfg':
        loop = EpochBasedTrainLoop if holder.get('by_epoch') else IterBasedTrainLoop
        return [loop], ('by_epoch',)
    for pattern, readers, names in _READERS:
        if re.fullmatch(pattern, place):
            return list(readers), names
    return [], ()


def _classes(kind: Any) -> list[Callable]:
    """Return the registered classes that a ``type`` may mean."""
    if not isinstance(kind, str):
        return [kind] if callable(kind) else []
    registries = [r for r in vars(mmpretrain.registry).values() if isinstance(r, Registry)]
    found = (_registered(registry, kind) for registry in (*registries, ADAPTERS))
    return list(dict.fromkeys(cls for cls in found if cls is not None))


def _registered(registry: Registry, kind: str) -> Callable | None:
    """Return the class that a registry has by a name; None if it has none.

    ``Registry.get`` looks for a module too where a registry lacks a name, which takes long in as
    many as there are here, and imports what happens to be called so. A dotted name is one.
    """
    if '.' in kind:
        return registry.get(kind)
    registry.import_from_location()
    while registry is not None:
        if kind in registry.module_dict:
            return registry.module_dict[kind]
        registry = registry.parent
    return None


def _parameters(reader: Callable) -> set[str] | None:
    """Return the names of the arguments of a class or a function; None if it takes any.

    Arguments that a class passes on to its base class are followed there.
    """
    if not inspect.isclass(reader):
        own, rest = _own_parameters(reader)
        return None if rest else own
    names = {'priority'} if issubclass(reader, Hook) else set()
    names |= {'convert_to_iter_based'} if issubclass(reader, _ParamScheduler) else set()
    for base in reader.__mro__:
        if '__init__' not in vars(base) or base in (object, torch.nn.Module):
            continue
        own, rest = _own_parameters(base.__init__)
        names |= own
        if rest is None:
            return names
        if not _passes_to_base(base.__init__, rest):
            return None
    return names


def _own_parameters(function: Callable) -> tuple[set[str], str | None]:
    """Return the names of a function's arguments, and the name of those that it collects."""
    parameters = inspect.signature(function).parameters.values()
    rest = [p.name for p in parameters if p.kind is p.VAR_KEYWORD]
    names = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    return names - {'self'}, rest[0] if rest else None


def _passes_to_base(function: Callable, name: str) -> bool:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return False
    call = rf'super\([^)]*\)\.__init__\(.*?\*\*{name}\b'
    return bool(re.search(call, source, re.DOTALL))


def _proposal(key: str, before: Config, config: Config) -> str:
    near = _near(key, before, config)
    return f'; did you mean {" or ".join(near)}?' if near else ''


def _near(key: str, before: Config, config: Config) -> list[str]:
    """Keys that may have been meant, of those that the config has, or that it may have.

    First those beside it that are spelled alike, then those of the same name elsewhere, then those
    spelled alike elsewhere.
    """
    read = _names(config, '')
    present = [k for k in _dotted(before.to_dict()) if k.split('.')[0] in read]
    taken = [
        f'{place}.{name}' if place else name
        for place in ('', *present)
        for name in sorted((_names(before, place) or set()).difference(_ALWAYS))
    ]
    for search in (_beside, _of_the_same_name, _alike):
        for keys in (present, taken):
            if found := search(key, keys):
                return found[:SHOWN]
    return []


def _beside(key: str, keys: list[str]) -> list[str]:
    place, _, end = key.rpartition('.')
    ends = {k.rpartition('.')[2]: k for k in keys if k.rpartition('.')[0] == place}
    return [ends[name] for name in difflib.get_close_matches(end, ends, 1, _SLIP)]


def _of_the_same_name(key: str, keys: list[str]) -> list[str]:
    same = [k for k in keys if k.rpartition('.')[2] == key.rpartition('.')[2]]
    return difflib.get_close_matches(key, same, SHOWN, 0)


def _alike(key: str, keys: list[str]) -> list[str]:
    ends = {k.rpartition('.')[2] for k in keys}
    near = difflib.get_close_matches(key.rpartition('.')[2], sorted(ends), 1, _SLIP)
    of_that_name = [k for k in keys if k.rpartition('.')[2] in near]
    return of_that_name or difflib.get_close_matches(key, keys, 1, _SLIP)


def _dotted(value: Any, place: str = '') -> Iterator[str]:
    parts: Iterable = ()
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    for name, part in parts:
        key = f'{place}.{name}' if place else str(name)
        yield key
        yield from _dotted(part, key)
