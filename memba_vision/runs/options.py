"""Settings of the command line: ``KEY=VALUE``, and ``KEY+=VALUE`` for what is added on purpose."""

import ast
import re
from collections.abc import Iterable
from typing import Any

from mmengine.config import Config, DictAction

from memba_vision.errors import UserError
from memba_vision.runs.data_root import LEADING as DATA_ROOT
from memba_vision.runs.data_root import following_data_root
from memba_vision.runs.epochs import following_epochs
from memba_vision.runs.image_size import following_image_size
from memba_vision.runs.known_settings import (
    MISSING,
    find_setting,
    missing,
    reason_decided,
    reason_ignored,
)
from memba_vision.runs.tool_options import EPOCHS, Typed

#: Kinds of settings that tools read, also after an option has replaced them as a whole.
KINDS = {
    'task': (str, 'a name'),
    **dict.fromkeys(('model', 'model.backbone', 'optim_wrapper', 'randomness'), (dict, 'a dict')),
    **{f'{part}_dataloader.dataset': (dict, 'a dict') for part in ('train', 'val', 'test')},
    'model.backbone.adapters': ((list, tuple), 'a list'),
}
LISTS = ('custom_hooks',)  # keys that become lists if a config lacks them
_PAIRS = {'(': ')', '[': ']', '{': '}'}


def apply_options(config: Config, options: dict[str, Any]) -> None:
    """Put settings into a config, which is changed in place.

    Where they change the backbone's ``img_size``, the pipelines follow, the schedule the number of
    epochs, and validation and test the folder of the training data, as far as the settings do not
    say otherwise; see :func:`memba_vision.runs.image_size.following_image_size`,
    :func:`memba_vision.runs.epochs.following_epochs` and
    :func:`memba_vision.runs.data_root.following_data_root`.

    Args:
        config: the config.
        options: values by dotted key. A key that ends in ``+`` is added whatever the config has,
            and its value is appended where that is a list.

    Raises:
        UserError: a key is not one that the config has or that what is built from it would take,
            or a value does not fit; the message says which keys are near.
    """
    given = {key.removesuffix('+'): key.endswith('+') for key in options}
    for key in given:
        if problem := reason_decided(key):
            raise UserError(f'--cfg-options: {problem}')
    before = Config(config.to_dict())
    leading = ('img_size', EPOCHS, 'train_cfg', DATA_ROOT)
    followed = [key for key in options if key.removesuffix('+').endswith(leading)]
    with following_image_size(config), following_epochs(config), following_data_root(config):
        for key in followed:
            _put(config, key.removesuffix('+'), options[key], key.endswith('+'))
    for key in options:  # settings of pipelines and schedulers stay
        if key not in followed:
            _put(config, key.removesuffix('+'), options[key], key.endswith('+'))
    for key, is_added in given.items():
        problem = None if is_added else reason_ignored(key, before, config)
        if problem:
            raise UserError(f'--cfg-options: {problem} (to set it on purpose: {key}+=…)')
    _check_kinds(config, given)
    if 'task' in given:
        _check_task(config)


def _check_kinds(config: Config, given: Iterable[str]) -> None:
    for key, (kind, named) in KINDS.items():
        found = find_setting(config, key)
        is_given = any(f'{key}.'.startswith(f'{option}.') for option in given)
        if is_given and found is not MISSING and not isinstance(found, kind):
            raise UserError(f'--cfg-options: {key} is {named}, found {found!r}')


def _check_task(config: Config) -> None:
    """Raise a UserError if the data are of another task than the one that a run is named after."""
    places = [f'{part}_dataloader.dataset.task' for part in ('train', 'val', 'test')]
    for place in places:
        found, task = find_setting(config, place, None), config.get('task')
        if None not in (found, task) and found != task:
            raise UserError(
                f'--cfg-options: task is {task!r}, and {place} {found!r}: give the config of the '
                'task, or the same task in both'
            )


def _put(config: Config, key: str, value: Any, is_added: bool) -> None:
    present = find_setting(config, key, None)
    if present is None and is_added and key in LISTS:
        present = []
    if isinstance(value, Typed):
        value = _checked(key, read_value(value, present), present)
    if is_added and isinstance(present, list | tuple):
        value = [*present, *(value if isinstance(value, list | tuple) else [value])]
    try:
        config.merge_from_dict({key: value})
    except (KeyError, IndexError) as error:  # it is behind the end of a list
        raise UserError(f'--cfg-options: {missing(key, config)}') from error
    except (TypeError, AssertionError, AttributeError) as error:
        raise UserError(f'--cfg-options: {key}: {" ".join(str(error).split())}') from error


def _checked(key: str, value: Any, present: Any) -> Any:
    """Return a value, unless it is text where there was a switch or a number."""
    if isinstance(value, str) and isinstance(present, bool):
        raise UserError(f'--cfg-options: {key} is True or False, found {str(value)!r}')
    if isinstance(value, str) and isinstance(present, int | float) and re.search(r'\s', value):
        raise UserError(
            f'--cfg-options: {key} is {present!r}, found {str(value)!r}: settings are arguments of '
            'their own, without quotes around several'
        )
    return value


def read_value(text: str, present: Any) -> Any:
    """Return the value that a typed text stands for.

    Brackets make a list or a tuple, braces a dict, quotes a text; numbers, True, False and None
    are read as such. A comma separates entries of a list, as in mmengine, except where a text
    stands in the config, or the value is a path.

    Args:
        text: as it was typed.
        present: the config's value there, or None.

    Raises:
        UserError: brackets or braces that do not close.
    """
    bare = _unquoted(text)
    quoted = bare is not None
    if quoted and isinstance(present, str):
        return bare
    text = bare if quoted else text.strip() if not isinstance(present, str) else str(text)
    if text[:1] in _PAIRS and text.endswith(_PAIRS[text[0]]):
        return _read_brackets(text)
    if text[:1] in _PAIRS and not isinstance(present, str):
        entries(text)  # they must close
    is_text = isinstance(present, str) or quoted or re.search(r'[/\\]', text)
    if ',' in text and (isinstance(present, list | tuple) or not is_text):
        return [_read_entry(entry) for entry in entries(text)]
    return DictAction._parse_int_float_bool(text)


def _read_entry(text: str) -> Any:
    bare = _unquoted(text)
    if bare is not None:
        return bare
    if text[:1] in _PAIRS and text.endswith(_PAIRS[text[0]]):
        return _read_brackets(text)
    return DictAction._parse_int_float_bool(text)


def _read_brackets(text: str) -> Any:
    if text[0] == '{':
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError) as error:
            raise UserError(
                f"--cfg-options: {text} is no dict; write it as {{'type': 'EMAHook'}}"
            ) from error
    found = [_read_entry(entry) for entry in entries(text[1:-1])]
    return tuple(found) if text[0] == '(' else found


def _unquoted(text: str) -> str | None:
    """Return the text inside quotes that enclose all of it; None where there are none."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in '\'"'
    return str(text[1:-1]) if is_quoted and text[0] not in text[1:-1] else None


def entries(text: str) -> list[str]:
    """Return the parts between commas that are inside neither brackets nor quotes."""
    parts, start, closing = [], 0, []
    for place, sign in enumerate(text):
        if closing and closing[-1] in '\'"':
            if sign == closing[-1]:
                closing.pop()
        elif sign in '\'"':
            closing.append(sign)
        elif sign in _PAIRS:
            closing.append(_PAIRS[sign])
        elif closing and sign == closing[-1]:
            closing.pop()
        elif sign == ',' and not closing:
            parts.append(text[start:place])
            start = place + 1
    if closing:
        raise UserError(f'--cfg-options: {text!r} has no closing {closing[-1]}')
    if text[start:].strip() or not parts:
        parts.append(text[start:])
    return [entry.strip() for entry in parts] if text.strip() else []
