"""Settings of a run by dotted key, so that those of two starts can be compared."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from memba_vision.runs.config_paths import absolute_paths

#: Settings that differ from start to start of one run, or from machine to machine.
PASSING = (
    *('work_dir', 'resume', 'load_from', 'launcher', 'model_wrapper_cfg'),
    *('renamed_classes', 'keep_features', 'cuda_graphs', 'chosen_settings'),
)
SHOWN = 8  # differences listed in an error
#: Ends of the keys of settings that change nothing about what comes out.
WITHOUT_EFFECT = (
    *('.persistent_workers', '.keep_images_mib'),
    *('default_hooks.checkpoint.interval', 'default_hooks.checkpoint.max_minutes'),
)


def flat_settings(config: Mapping[str, Any], passing: Sequence[str] = PASSING) -> dict[str, Any]:
    """Return all settings by dotted key, without ``passing`` ones and what is switched off.

    Args:
        config: as a dict.
        passing: keys that may differ.
    """
    flat: dict[str, Any] = {}
    _flatten(plain_settings(config, passing), '', flat)
    return {key: value for key, value in flat.items() if not key.endswith(WITHOUT_EFFECT)}


def plain_settings(config: Mapping[str, Any], passing: Sequence[str] = PASSING) -> dict[str, Any]:
    """Return all settings as JSON has them, without ``passing`` ones; see :func:`flat_settings`."""
    kept = {key: value for key, value in absolute_paths(config).items() if key not in passing}
    return json.loads(json.dumps(kept, default=str))


def _flatten(value: Any, key: str, into: dict[str, Any]) -> None:
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in parts:
        name = f'{key}.{name}' if key else str(name)
        if isinstance(part, dict) and part.get('enable') is False:
            continue
        if isinstance(part, dict | list):
            _flatten(part, name, into)
        else:
            into[name] = part


def describe_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the first ``SHOWN`` of :func:`differences` in one line; '' if there are none."""
    lines = differences(before, now)
    more = f'; and {len(lines) - SHOWN} more' if len(lines) > SHOWN else ''
    return '; '.join(lines[:SHOWN]) + more


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each setting that is not what it was.

    Args:
        before: settings by dotted key.
        now: the same, of another start.
    """
    missing = object()
    lines = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key, missing), now.get(key, missing)
        if old != new:
            old, new = ('not set' if value is missing else repr(value) for value in (old, new))
            lines.append(f'{key} was {old}, is {new}')
    return lines
