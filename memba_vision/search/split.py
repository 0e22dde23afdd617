"""Split for a search: 800 images train, 200 others validate, and the test split is removed."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from mmengine.config import Config

from memba_vision.errors import UserError

TRAIN, VALIDATION = 'train800', 'val200'


def use_validation_split(config: Config) -> None:
    """Make a config train on ``train800`` and validate on ``val200`` after each epoch.

    The config has no test data afterwards, so that no trial can read them.

    Raises:
        UserError: its datasets have no splits to choose, or another split is left in it.
    """
    train, test = config.get('train_dataloader'), config.get('test_dataloader')
    if not all(loader and 'split' in loader.get('dataset', {}) for loader in (train, test)):
        raise UserError(
            'a search needs a config whose train_dataloader and test_dataloader each have a '
            f'dataset with a split, to put {TRAIN} and {VALIDATION} in its place'
        )
    train.dataset.split = TRAIN
    config.val_dataloader = deepcopy(test)
    config.val_dataloader.dataset.split = VALIDATION
    config.val_evaluator = deepcopy(config.test_evaluator)
    config.val_cfg = dict()
    config.test_dataloader = config.test_evaluator = config.test_cfg = None
    config.train_cfg.val_interval = 1
    others = set(_splits(config._cfg_dict)) - {TRAIN, VALIDATION}
    if others:
        raise UserError(f'the config still reads the split {", ".join(sorted(others))}')


def _splits(value: Any) -> Iterator[str]:
    """Yield the values of all keys 'split'."""
    if isinstance(value, dict):
        yield from (str(v) for key, v in value.items() if key == 'split')
        value = list(value.values())
    for part in value if isinstance(value, list | tuple) else ():
        yield from _splits(part)
