"""Checks of the settings of adapters: their types and ranges."""

import math
from numbers import Integral, Real
from typing import Any

from memba_vision.errors import UserError


def check_whole(adapter: str, name: str, value: Any, least: int = 1) -> None:
    """Raise a UserError where a setting is no whole number, or less than ``least``.

    Args:
        adapter: the adapter, for the error's text.
        name: the setting.
        value: its value.
        least: the smallest one.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UserError(f'{adapter}: {name} must be a whole number, got {value!r}')
    check_least(adapter, name, value, least)


def check_switch(adapter: str, name: str, value: Any) -> None:
    """Raise a UserError where a setting is neither True nor False; see :func:`check_whole`."""
    if not isinstance(value, bool):
        raise UserError(f'{adapter}: {name} must be True or False, got {value!r}')


def check_number(adapter: str, name: str, value: Any) -> None:
    """Raise a UserError where a setting is no finite number; see :func:`check_whole`."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise UserError(f'{adapter}: {name} must be a number, got {value!r}')


def check_least(adapter: str, name: str, value: Any, least: float) -> None:
    """Raise a UserError where a setting is no number, or less than ``least``."""
    check_number(adapter, name, value)
    if value < least:
        raise UserError(f'{adapter}: {name} must be at least {least}, got {value}')


def check_above_zero(adapter: str, name: str, value: Any, most: float = math.inf) -> None:
    """Raise a UserError where a setting is no number above 0, or more than ``most``."""
    check_number(adapter, name, value)
    if not 0 < value <= most:
        upper = '' if most == math.inf else f' and at most {most}'
        raise UserError(f'{adapter}: {name} must be above 0{upper}, got {value}')


def check_drop_rate(adapter: str, drop_rate: Any) -> None:
    """Raise a UserError where a drop rate is no number from 0 on and below 1."""
    check_number(adapter, 'drop_rate', drop_rate)
    if not 0 <= drop_rate < 1:
        raise UserError(f'{adapter}: drop_rate must be in [0, 1), got {drop_rate}')
