"""Validation split: 800 images train, 200 others judge, and no test data are left in the config."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from memba_vision.errors import UserError

TRAIN, VALIDATION = 'train800', 'val200'


def use_validation_split(config: Config) -> None:
    """Make a config train on ``train800``, and measure on ``val200`` what it measured on the test.

    Nothing is validated while it trains. No test data are left in the config, so that nobody can
    choose by them.

    Raises:
        UserError: its datasets have no splits to choose, or another split is left in it.
    """
    train, test = config.get('train_dataloader'), config.get('test_dataloader')
    if not all(loader and 'split' in loader.get('dataset', {}) for loader in (train, test)):
        raise UserError(
            'validation needs a config whose train_dataloader and test_dataloader each have a '
            f'dataset with a split, to put {TRAIN} and {VALIDATION} in its place'
        )
    train.dataset.split, test.dataset.split = TRAIN, VALIDATION
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    others = set(_splits(config._cfg_dict)) - {TRAIN, VALIDATION}
    if others:
        raise UserError(f'the config still reads the split {", ".join(sorted(others))}')


def validates(config: Mapping[str, Any]) -> bool:
    """Return True if a config, also as a record has it, measures on ``val200``."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    return dataset.get('split') == VALIDATION


def _splits(value: Any) -> Iterator[str]:
    """Yield the values of all keys 'split'."""
    if isinstance(value, dict):
        yield from (str(v) for key, v in value.items() if key == 'split')
        value = list(value.values())
    for part in value if isinstance(value, list | tuple) else ():
        yield from _splits(part)
