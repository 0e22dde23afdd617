"""The number of epochs, which the schedule follows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.runs.tool_options import EPOCHS

# Settings of schedulers in epochs. mmengine counts these alone in parts of them, where it converts
# epochs to steps.
WHOLE, DIVISIBLE = ('milestones', 'step_size', 'periods'), ('begin', 'end', 'T_max')


@contextmanager
def following_epochs(config: Config) -> Iterator[None]:
    """Let the schedule follow where the number of epochs is changed meanwhile.

    Warm-up, decay and milestones keep their shares of the training, those that count steps too; so
    does the epoch after which validation begins.

    Args:
        config: of a run, changed in place.

    Raises:
        UserError: the new number is not a whole one of 1 or more.
    """
    old = _epochs(config)
    yield
    new = _epochs(config)
    if new == old or old is None:
        return
    if not isinstance(new, int) or new < 1:
        raise UserError(f'{EPOCHS} (--epochs) is a whole number of 1 or more, found {new!r}')
    for scheduler in _dicts_with_type(config.get('param_scheduler')):
        _scale(scheduler, new, old)
    if 'val_begin' in config.train_cfg:
        config.train_cfg.val_begin = max(1, round(config.train_cfg.val_begin * new / old))


def set_epochs(config: Config, epochs: int) -> None:
    """Set the number of epochs of a config, in place, with its schedule."""
    with following_epochs(config):
        config.train_cfg.max_epochs = epochs


def _epochs(config: Config) -> Any:
    return (config.get('train_cfg') or {}).get('max_epochs')


def _scale(scheduler: dict, new: int, old: int) -> None:
    by_epoch = scheduler.get('by_epoch', True)
    for key in DIVISIBLE:
        if scheduler.get(key) is not None:
            scaled = scheduler[key] * new / old
            scheduler[key] = round(scaled) if scaled.is_integer() or not by_epoch else scaled
    for key in WHOLE:
        if scheduler.get(key) is not None:
            several = isinstance(scheduler[key], list | tuple)
            values = scheduler[key] if several else [scheduler[key]]
            scaled = [max(1, round(value * new / old)) for value in values]
            scheduler[key] = scaled if several else scaled[0]


def _dicts_with_type(part: Any) -> Iterator[dict]:
    """Yield the schedulers: one, a list of them, or either for each of several optimizers."""
    if isinstance(part, dict) and 'type' in part:
        yield part
    elif isinstance(part, dict | list | tuple):
        for child in part.values() if isinstance(part, dict) else part:
            yield from _dicts_with_type(child)
