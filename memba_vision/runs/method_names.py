"""Names of methods in results: those of presets, with the settings that a run tries behind them."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from memba_vision.runs.presets import preset_names


def spelled_as_preset(method: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return a method's name with underscores where that is a shipped preset.

    The name of a config's file has hyphens there, as in ``digits_linear-probing.py``, and so do
    results of older versions. Other names stay as they are.

    Args:
        method: the name.
        settings: settings that were tried, which the name ends with.
    """
    if '-' not in method:
        return method
    own = method_without_settings(method, settings)
    preset = own.replace('-', '_')
    return preset + method[len(own) :] if preset in preset_names() else method


def name_with_settings(method: str, settings: Mapping[str, Any] | None) -> str:
    """Return the name of a method that tries settings, as 'lora_lr0.003_scale0.5'."""
    parts = [key + _in_a_name(value) for key, value in with_short_keys(settings or {}).items()]
    return '_'.join([method, *parts])


def with_short_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by the last part of their keys, as far as that tells them apart."""
    ends = Counter(key.rpartition('.')[2] for key in settings)
    short = {key: key.rpartition('.')[2] for key in settings}
    return {short[key] if ends[short[key]] == 1 else key: settings[key] for key in settings}


def method_without_settings(name: str, settings: Mapping[str, Any] | None) -> str:
    """Return the method of :func:`name_with_settings`."""
    return name.removesuffix(name_with_settings('', settings))


def _in_a_name(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:g}'
    return re.sub(r'[^\w.+-]+', '-', str(value)).strip('-')
