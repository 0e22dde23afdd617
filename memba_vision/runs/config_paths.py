"""Paths in a config, so that they mean the same from any folder."""

import os
from collections.abc import Mapping
from typing import Any

#: Settings that are paths; elsewhere a text may be one or not.
FOLDERS = ('data_root', 'out_dir', 'save_dir', 'work_dir')
FILES = ('checkpoint', 'load_from', 'pretrained')  # or a name or an address, where none exists


def absolute_paths(value: Any, key: str = '') -> Any:
    """A config as plain dicts and lists, its relative paths replaced by absolute ones.

    Args:
        value: the config, or a part of it.
        key: what the part is called.
    """
    if isinstance(value, Mapping):
        return {name: absolute_paths(part, name) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(absolute_paths(part, key) for part in value)
    if not isinstance(value, str) or not value or '://' in value:
        return value
    path = os.path.expanduser(value)
    if key in FOLDERS or (key in FILES and os.path.exists(path)):
        return os.path.abspath(path)
    return value
