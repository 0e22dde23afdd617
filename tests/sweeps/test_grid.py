"""The grid of a sweep."""

import importlib.util
import json
from pathlib import Path
from unittest import mock

import pytest
from helpers import CONFIGS, DEMO, TOOLS, run_tool

from memba_vision.errors import UserError
from memba_vision.runs.compared_settings import flat_settings
from memba_vision.runs.config import load_config, set_seed_and_precision
from memba_vision.runs.trial import Trial
from memba_vision.sweeps.calibration import model_key
from memba_vision.sweeps.folder import enter
from memba_vision.sweeps.grid import read_grid
from memba_vision.sweeps.jobs import SWEEP_OPTIONS, Options, make_jobs
from memba_vision.sweeps.suites import suite_configs

LR = 'optim_wrapper.optimizer.lr'


def jobs_on(folder: Path, *grid: str, methods=('lora',), validate=True, configs=(DEMO,), **options):
    options = Options(validate=validate, **options)
    paths = [*map(str, configs)]
    return make_jobs(paths, methods, [0], folder, options, grid=read_grid(grid))


def test_keys_multiply_in_their_order():
    points = read_grid([f'{LR}=1e-3,3e-3', 'scale=1, 2', 'model.backbone.x=[1,2],"a,b"'])
    assert len(points) == 8
    assert points[0] == {LR: '1e-3', 'scale': '1', 'model.backbone.x': '[1,2]'}
    assert points[1] == {LR: '1e-3', 'scale': '1', 'model.backbone.x': '"a,b"'}
    assert points[-1] == {LR: '3e-3', 'scale': '2', 'model.backbone.x': '"a,b"'}
    assert read_grid([]) == [{}]


@pytest.mark.parametrize(
    ('grid', 'expected'),
    [
        (['lr'], "--grid: expected KEY=VALUE, found 'lr'"),
        (['lr='], '--grid lr=: give each key once'),
        (['a.lr=1', 'a.lr=2'], '--grid a.lr=2: give each key once'),
        (['a.lr=1,1'], '--grid a.lr=1,1: give each key once, each value of it once'),
        (['a.lr+=1'], r'--grid a.lr\+=1: give each key once'),
    ],
)
def test_what_is_no_grid(grid, expected):
    with pytest.raises(UserError, match=expected):
        read_grid(grid)


def test_each_point_is_a_run_with_a_name_of_its_own(tmp_path):
    jobs = jobs_on(tmp_path, f'{LR}=1e-3,3e-3', 'scale=0.3,1', methods=['lora', 'a_tuning'])
    assert [job.name for job in jobs] == [
        'digits_lora_lr0.001_scale0.3_seed0',
        'digits_lora_lr0.001_scale1_seed0',
        'digits_lora_lr0.003_scale0.3_seed0',
        'digits_lora_lr0.003_scale1_seed0',
        'digits_a_tuning_lr0.001_seed0',  # it has no scale
        'digits_a_tuning_lr0.003_seed0',
    ]
    assert jobs[1].settings == {LR: 0.001, 'scale': 1}
    assert {job.resolved.test_dataloader.dataset.split for job in jobs} == {'val200'}
    enter(tmp_path, jobs, Options(validate=True))
    listed = json.loads((tmp_path / 'sweep.json').read_text())
    assert listed['runs'][5]['settings'] == {LR: 0.003}
    assert listed['options']['validate'] is True


def test_the_points_of_a_method_are_as_fast(tmp_path):
    jobs = jobs_on(tmp_path, f'{LR}=1e-3,3e-3', 'scale=0.3,1', methods=['lora', 'memba'])
    assert len({model_key(job) for job in jobs}) == 2
    ranks = jobs_on(tmp_path, 'rank=2,4')
    assert len({model_key(job) for job in ranks}) == 2


@pytest.mark.parametrize('validate', [True, False])
@pytest.mark.parametrize('methods', [['hybrid'], []], ids=str)
def test_the_command_of_a_run_gives_its_config(tmp_path, methods, validate):
    grid = (f'{LR}=1e-2', 'scale=0.5', 'optim_wrapper.optimizer.betas=[0.8,0.99]')
    (job,) = jobs_on(tmp_path, *grid, methods=methods, validate=validate)
    args = arguments_of_training(job.command())
    assert args.validate is validate
    loaded = load_config(
        *(args.config, args.cfg_options, args.work_dir, args.launcher, args.peft, args.backbone),
        trial=Trial(args.tried, args.validate),
    )
    set_seed_and_precision(loaded, args.seed, args.amp)
    assert flat_settings(loaded.to_dict()) == flat_settings(job.resolved.to_dict())
    assert loaded.optim_wrapper.optimizer.betas == [0.8, 0.99]


def arguments_of_training(command: list[str]):
    spec = importlib.util.spec_from_file_location('tool_train', TOOLS / 'train.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    with mock.patch('sys.argv', command[1:]):
        return tool.parse_arguments()


@pytest.mark.parametrize(
    ('grid', 'options', 'expected'),
    [
        ('optim_wrapper.optimizer.lrr=1', (), r'did you mean optim_wrapper\.optimizer\.lr\?'),
        (
            'lr=1,2',
            (),
            r'--grid lr: the config has no lr; did you mean optim_wrapper.*, nor has an',
        ),
        (f'{LR}=1', (f'{LR}=2',), 'is in --cfg-options and in --grid: give it once'),
    ],
)
def test_keys_that_a_grid_cannot_have(tmp_path, grid, options, expected):
    with pytest.raises(UserError, match=expected) as error:
        jobs_on(tmp_path, grid, cfg_options=options)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('key', ['randomness.seed', 'work_dir', 'peft', 'backbone', 'launcher'])
def test_what_a_sweep_decides_for_each_run_is_no_setting(tmp_path, key):
    option = SWEEP_OPTIONS[key]
    with pytest.raises(UserError, match=f'^--grid: {key} is what {option} says'):
        jobs_on(tmp_path, f'{key}=1,2')
    with pytest.raises(UserError, match=f'^--cfg-options: {key} is what {option} says'):
        jobs_on(tmp_path, cfg_options=(f'{key}=7',))
    with pytest.raises(UserError, match='cannot be tried'):
        load_config(str(DEMO), {}, None, trial=Trial({key: 'x'}))


def test_tasks_are_no_points_of_a_grid(tmp_path):
    with pytest.raises(UserError, match=r'task cannot be tried: .*give the config of the task'):
        jobs_on(tmp_path, 'task=digits,letters')


def test_a_mistake_in_a_grid_is_one_line(tmp_path):
    arguments = [DEMO, '--methods', 'linear_probing', '--work-dir', tmp_path, '--grid', 'scale=1,2']
    assert '--grid scale: the config has no scale' in run_tool('sweep', *arguments).error()


def test_validation_and_test_have_folders_of_their_own(tmp_path):
    enter(tmp_path, jobs_on(tmp_path, validate=False), Options())
    with pytest.raises(UserError, match='begun with other settings: validate was not set, is True'):
        enter(tmp_path, jobs_on(tmp_path), Options(validate=True))


def test_points_can_be_added(tmp_path):
    options = Options(validate=True)
    enter(tmp_path, jobs_on(tmp_path, f'{LR}=1e-3,3e-3'), options)
    enter(tmp_path, jobs_on(tmp_path, f'{LR}=1e-2,1e-3'), options)
    runs = json.loads((tmp_path / 'sweep.json').read_text())['runs']
    assert [run['settings'][LR] for run in runs] == [0.001, 0.003, 0.01]


def test_every_method_of_a_suite_goes_on_a_grid(tmp_path):
    config = CONFIGS / 'demo' / Path(suite_configs('demo')[0]).name
    jobs = jobs_on(tmp_path, f'{LR}=1e-3,3e-3,1e-2', methods=['all'], configs=[config])
    of_method: dict[str, list[float]] = {}
    for job in jobs:
        of_method.setdefault(job.resolved.peft, []).append(job.resolved.optim_wrapper.optimizer.lr)
    assert set(map(tuple, of_method.values())) == {(0.001, 0.003, 0.01)}
