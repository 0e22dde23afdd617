"""A search cannot see the test split."""

import pytest
from helpers import CONFIGS, DEMO

from memba_vision.errors import UserError
from memba_vision.runs.config import load_config
from memba_vision.search.split import validate_each_epoch


@pytest.mark.parametrize('path', [DEMO, CONFIGS / 'vtab1k' / 'kitti_memba.py'])
def test_no_test_data_are_left(path):
    config = load_config(str(path), {}, None)
    validate_each_epoch(config)
    assert config.train_dataloader.dataset.split == 'train800'
    assert config.val_dataloader.dataset.split == 'val200'
    assert config.val_dataloader.dataset.test_mode
    assert config.val_evaluator.type == 'Accuracy'
    assert [config[f'test_{part}'] for part in ('dataloader', 'evaluator', 'cfg')] == [None] * 3


def test_epochs_before_a_validation_of_the_config_are_judged_too():
    config = load_config(str(DEMO), {'train_cfg.val_begin': 15}, None)
    validate_each_epoch(config)
    assert config.train_cfg.val_interval == 1
    assert 'val_begin' not in config.train_cfg


def test_a_dataset_without_a_split():
    config = load_config(str(DEMO), {}, None)
    del config.train_dataloader.dataset['split']
    with pytest.raises(UserError, match='validation needs a config whose'):
        validate_each_epoch(config)


def test_a_test_split_hidden_elsewhere():
    options = {'custom_hooks': [dict(type='X', dataset=dict(split='test'))]}
    config = load_config(str(DEMO), options, None)
    with pytest.raises(UserError, match='still reads the split test'):
        validate_each_epoch(config)
