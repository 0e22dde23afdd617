"""The schedule follows the number of epochs, in every tool that trains."""

import importlib.util
import sys

import pytest
from helpers import CONFIGS, DEMO, TOOLS, run_tool, tiny_options
from mmengine.config import Config

from memba_vision.engine.runner import ReadableRunner
from memba_vision.engine.schedule import without_short_parts
from memba_vision.errors import UserError
from memba_vision.runs.config import load_config
from memba_vision.runs.epochs import following_epochs, set_epochs
from memba_vision.runs.tool_options import parse_options

VTAB = CONFIGS / 'vtab1k' / 'kitti_memba.py'


def parts(config: Config) -> list[tuple]:
    return [(s.get('begin', 0), s.get('end')) for s in config.param_scheduler]


def load(*options, path=VTAB) -> Config:
    return load_config(str(path), parse_options(options), None)


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['train_cfg.max_epochs=100'], [(0, 10), (10, None)]),
        (['train_cfg.max_epochs=20'], [(0, 2), (2, None)]),
        (['train_cfg.max_epochs=300'], [(0, 30), (30, None)]),
        (['train_cfg.max_epochs=5'], [(0, 0.5), (0.5, None)]),
        (['train_cfg={"by_epoch": True, "max_epochs": 50}'], [(0, 5), (5, None)]),
        # What is said of the schedule counts, whatever the order.
        (['param_scheduler.0.end=7', 'train_cfg.max_epochs=20'], [(0, 7), (2, None)]),
    ],
    ids=str,
)
def test_warm_up_keeps_its_share(options, expected):
    config = load(*options)
    assert parts(config) == expected
    assert all(type(end) is int for _, end in expected if end and end >= 1)


@pytest.mark.parametrize('epochs', [1, 2, 3, 7])
def test_a_run_of_few_epochs_warms_up_and_decays(base, data_root, tmp_path, epochs):
    options = tiny_options(base, data_root, **{'train_cfg.max_epochs': epochs})
    options = {k: v for k, v in options.items() if 'param_scheduler' not in k}
    config = load_config(str(DEMO), options, str(tmp_path))
    runner = ReadableRunner.from_cfg(config)
    _ = runner.train_loop  # 4 steps an epoch
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    warm_up = int(4 * epochs / 10)
    expected = [(0, warm_up)] * (warm_up > 0) + [(warm_up, 4 * epochs)]
    assert [(s.begin, s.end) for s in schedulers] == expected


def test_all_that_counts_epochs_or_steps_follows():
    config = Config(
        dict(
            train_cfg=dict(max_epochs=10, val_begin=5),
            param_scheduler=dict(
                one=[
                    dict(type='MultiStepLR', milestones=[4, 8], end=9),
                    dict(type='CosineAnnealingLR', T_max=6, convert_to_iter_based=True, begin=4),
                ],
                two=dict(type='StepLR', step_size=1, by_epoch=False, end=250),
            ),
        )
    )
    set_epochs(config, 5)
    (steps, cosine), every = config.param_scheduler.one, config.param_scheduler.two
    assert (steps.milestones, steps.end) == ([2, 4], 4.5)
    assert (cosine.T_max, cosine.begin) == (3, 2)
    assert (every.step_size, every.end) == (1, 125)
    assert (config.train_cfg.max_epochs, config.train_cfg.val_begin) == (5, 2)
    fitted = without_short_parts(config.param_scheduler, 3)
    assert fitted['one'][0]['end'] == 4  # a scheduler that is not converted counts whole epochs


def test_only_what_is_shorter_than_a_step_is_left_out():
    short = dict(type='LinearLR', end=0.2, convert_to_iter_based=True)
    wrong = dict(type='LinearLR', begin=3, end=2)
    assert without_short_parts([short, wrong], 4) == [wrong]
    assert without_short_parts([short], 5) == [short]
    assert without_short_parts(short, 4) == short


def test_without_a_change_nothing_changes():
    config = load()
    before = config.pretty_text
    with following_epochs(config):
        pass
    assert config.pretty_text == before


@pytest.mark.parametrize('value', ['0', '-3', '1.5', 'many'])
def test_numbers_that_cannot_be(value):
    with pytest.raises(UserError, match=r'train_cfg\.max_epochs'):
        load(f'train_cfg.max_epochs={value}')


def test_a_config_that_counts_steps_refuses_epochs(tmp_path):
    arguments = (CONFIGS / 'pretrain' / 'vim-mini_shapes.py', '--work-dir', tmp_path)
    assert 'train_cfg.max_epochs' in run_tool('train', *arguments, '--epochs', 3).error()


def parsed(monkeypatch, name: str, *arguments: str):
    spec = importlib.util.spec_from_file_location(f'tool_{name}', TOOLS / f'{name}.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, 'argv', [name, *arguments])
    return tool.parse_arguments()


def test_the_option_of_train_and_sweep(monkeypatch):
    options = ['--cfg-options', 'a=1']
    for order in (['--epochs', '3', *options], [*options, '--epochs', '3']):
        args = parsed(monkeypatch, 'train', 'config.py', *order)
        assert args.cfg_options == {'a': '1', 'train_cfg.max_epochs': '3'}
        args = parsed(monkeypatch, 'sweep', 'config.py', *order)
        assert sorted(args.cfg_options) == ['a=1', 'train_cfg.max_epochs=3']
    assert run_tool('train', 'config.py', '--epochs', '0').status == 2
