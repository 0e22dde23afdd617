"""The text of a run's config is mmengine's, and is formatted once."""

import copy
import pickle

import pytest
from helpers import DEMO
from mmengine.config import Config

from memba_vision.engine.run_config import RunConfig


@pytest.fixture
def config() -> Config:
    return Config.fromfile(DEMO)


def test_the_text_is_that_of_mmengine(config):
    assert RunConfig.of(config).pretty_text == config.pretty_text


def test_it_is_formatted_once(config, monkeypatch):
    formatted = []
    monkeypatch.setattr(
        'mmengine.config.config.FormatCode', lambda text, **_: (formatted.append(text), True)
    )
    run_config = RunConfig.of(config)
    for _ in range(3):
        assert run_config.pretty_text is copy.deepcopy(run_config).pretty_text
    assert len(formatted) == 1


def test_a_change_shows(config):
    run_config = RunConfig.of(config)
    assert 'max_epochs=20' in run_config.pretty_text
    run_config.train_cfg.max_epochs = 7
    assert 'max_epochs=7' in run_config.pretty_text
    assert run_config.pretty_text == config.pretty_text  # which shares the content


@pytest.mark.parametrize(
    'copied', [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_a_copy_has_its_own_text(config, copied):
    run_config = RunConfig.of(config)
    text = run_config.pretty_text
    twin = copied(run_config)
    twin.work_dir = 'elsewhere'
    assert isinstance(twin, RunConfig)
    assert "work_dir='elsewhere'" in twin.pretty_text.replace(' ', '')
    assert run_config.pretty_text == text
