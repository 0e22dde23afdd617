"""The folder of the data, in which validation and test follow training."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config

from memba_vision.runs.known_settings import find_setting

LEADING = 'train_dataloader.dataset.data_root'
FOLLOWING = ('val_dataloader.dataset', 'test_dataloader.dataset')


@contextmanager
def following_data_root(config: Config) -> Iterator[None]:
    """Let validation and test read where training does, if its folder is changed meanwhile.

    Those that had another folder before, or another type of dataset, stay.

    Args:
        config: of a run, changed in place.
    """
    old = find_setting(config, LEADING, None)
    yield
    new = find_setting(config, LEADING, None)
    if new == old:
        return
    trained = config.train_dataloader.dataset
    for key in FOLLOWING:
        dataset = find_setting(config, key, None)
        is_alike = isinstance(dataset, dict) and dataset.get('type') == trained.get('type')
        if is_alike and dataset.get('data_root') == old:
            dataset['data_root'] = new
