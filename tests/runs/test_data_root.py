from helpers import DEMO
from mmengine.config import Config

from memba_vision.runs.config import load_config
from memba_vision.runs.data_root import following_data_root
from memba_vision.runs.known_settings import find_setting

TRAIN, TEST = (f'{part}_dataloader.dataset.data_root' for part in ('train', 'test'))


def roots(**options):
    config = load_config(str(DEMO), options, None)
    return [find_setting(config, key, None) for key in (TRAIN, TEST)]


def test_the_test_follows_the_folder_of_the_training_data():
    assert roots() == [None, None]  # those of the dataset's class
    assert roots(**{TRAIN: '/disk'}) == ['/disk', '/disk']


def test_a_folder_that_is_given_stays():
    assert roots(**{TRAIN: '/disk', TEST: '/other'}) == ['/disk', '/other']


def test_training_does_not_follow_the_test():
    assert roots(**{TEST: '/other'}) == [None, '/other']


def test_validation_follows_and_what_lay_elsewhere_stays():
    places = dict(train='/a', val='/a', test='/b')
    config = Config(
        {f'{part}_dataloader': dict(dataset=dict(data_root=p)) for part, p in places.items()}
    )
    with following_data_root(config):
        config.train_dataloader.dataset.data_root = '/disk'
    assert config.val_dataloader.dataset.data_root == '/disk'
    assert config.test_dataloader.dataset.data_root == '/b'
