"""Settings that the runs of a grid choose."""

import json
import os
from contextlib import nullcontext
from dataclasses import replace

import pytest
from helpers import DEMO, REPOSITORY, run_tool
from made_runs import make_result, plan, save_runs, set_status
from safetensors.torch import load_file, save_file

from memba_vision.datasets.benchmarks import benchmark_of
from memba_vision.errors import UserError
from memba_vision.reports import choice
from memba_vision.reports.accuracy_table import accuracy_table
from memba_vision.reports.choice import (
    describe_choice,
    make_choice,
    read_choice,
    settings_text,
    shipped_fingerprint,
    write_choice,
)
from memba_vision.reports.collect import collect_runs
from memba_vision.reports.content import make_content
from memba_vision.reports.method_table import measured_accuracies, measured_runs
from memba_vision.reports.run_list import read_run_list, write_run_list
from memba_vision.runs import backbone, base_models
from memba_vision.runs.backbone import Backbone, backbone_of
from memba_vision.runs.base_models import BASE_MODELS, read_base_model
from memba_vision.runs.chosen_settings import SETTINGS
from memba_vision.runs.config import load_config
from memba_vision.runs.method_names import name_with_settings
from memba_vision.runs.metrics import Metric
from memba_vision.weights import MissingWeights, resolve

LR = 'optim_wrapper.optimizer.lr'
MINI = Backbone('vim', 'vim_mini')
SUITE = benchmark_of('digits')
NAME = f'{SUITE.name}_vim-mini'
TASKS = ('digits', 'sprites_location')


def tried(lr, *values, method='lora', seed=0, **others):
    """A method's runs at a point of its grid, a value for each task."""
    settings = {LR: lr}
    common = dict(split='val200', settings=settings, backbone=MINI, seed=seed, **others)
    name = name_with_settings(method, settings)
    return [
        make_result(name, task, top1=value, **common)
        for task, value in zip(TASKS, values, strict=False)
    ]


def chosen(results) -> dict[str, float]:
    return {method: values[LR] for method, values in make_choice(results).settings().items()}


def test_the_best_mean_over_tasks():
    results = [*tried(0.01, 90, 50), *tried(0.003, 80, 61), *tried(0.001, 70, 62)]
    results += [*tried(0.01, 90, 50, method='memba'), *tried(0.003, 80, 59, method='memba')]
    assert chosen(results) == {'lora': 0.003, 'memba': 0.01}


def test_the_mean_over_seeds_comes_first():
    results = [*tried(0.01, 90, 50), *tried(0.003, 80, 61)]
    results += [*tried(0.01, 90, 50, seed=1), *tried(0.003, 70, 60, seed=1)]
    assert chosen(results) == {'lora': 0.01}


def test_of_equals_the_first_of_the_grid():
    ties = [*tried(0.003, 0.1 + 0.2, 60), *tried(0.001, 60, 0.3), *tried(0.01, 0.3, 60)]
    assert chosen(ties) == {'lora': 0.003}
    assert chosen(ties[::-1]) == {'lora': 0.01}


def test_a_point_without_all_runs_is_not_chosen():
    results = [*tried(0.01, 99), *tried(0.003, 80, 61), *tried(0.003, 99, method='memba')]
    choice = make_choice(results)
    assert choice.settings() == {'lora': {LR: 0.003}}
    assert [point.mean for point in choice.points['lora']] == [None, 70.5]


@pytest.mark.parametrize(
    ('others', 'expected'),
    [
        (dict(split='test'), r'2 of 4 runs are not of one \(lora_lr0.01 on digits: top-1 \(%\)\)'),
        (dict(metric='loss'), r'\(lora_lr0.01 on digits: loss on val200\)'),
        (dict(backbone=Backbone('vim', 'vim_tiny', 'a')), 'the runs have vim_mini and vim_tiny'),
        (dict(task='kitti'), f'the runs have VTAB-1k and {SUITE.title}'),
    ],
)
def test_runs_that_do_not_compare(others, expected):
    results = tried(0.003, 80, 61) + [replace(r, **others) for r in tried(0.01, 90, 50)]
    with pytest.raises(UserError, match=expected):
        make_choice(results)


@pytest.fixture
def second_model(tmp_path, monkeypatch):
    """Another model of the architecture of vim-mini, with other weights."""
    weights = load_file(resolve('memba_vision://vim-mini.safetensors'))
    weights['cls_token'] = weights['cls_token'] + 1
    save_file(weights, tmp_path / 'second.safetensors')
    config = read_base_model('vim-mini')
    config.model.backbone.module.init_cfg.checkpoint = str(tmp_path / 'second.safetensors')
    config.dump(tmp_path / 'vim-mini-second.py')
    for path in BASE_MODELS.glob('*.py'):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.setattr(base_models, 'BASE_MODELS', tmp_path)
    for table in (backbone._named_architectures, backbone._shipped_models):
        table.cache_clear()
    yield
    monkeypatch.undo()
    for table in (backbone._named_architectures, backbone._shipped_models):
        table.cache_clear()


def test_the_weights_tell_two_models_of_one_architecture_apart(second_model):
    arch = backbone_of(read_base_model('vim-mini')).arch
    assert arch == backbone_of(read_base_model('vim-mini-second')).arch

    def name(*bases) -> str:
        own = [Backbone('vim', arch, base) for base in bases]
        runs = [r for b in own for r in tried(0.01, 90, 50, method=str(b.base))]
        runs = [replace(r, backbone=own[i // 2]) for i, r in enumerate(runs)]
        return make_choice(runs).backbone

    assert name(shipped_fingerprint('vim-mini'), 'random') == 'vim-mini'
    assert name('random', shipped_fingerprint('vim-mini-second')) == 'vim-mini-second'
    assert name('random') == 'vim-mini'
    with pytest.raises(UserError, match=r'not those of vim-mini or .*vim-mini-second'):
        name('abc')


def test_other_weights_are_not_those_of_the_only_model_of_their_architecture(monkeypatch):
    monkeypatch.setattr(choice, 'shipped_names', lambda arch: ['vim-mini'])
    for base, is_shipped in [(None, True), (shipped_fingerprint('vim-mini'), True), ('abc', False)]:
        runs = [replace(run, backbone=replace(MINI, base=base)) for run in tried(0.01, 90, 50)]
        with nullcontext() if is_shipped else pytest.raises(UserError, match='not those of vim-mi'):
            assert make_choice(runs).backbone == 'vim-mini'


def test_weights_that_are_not_here_are_not_compared_and_that_is_said(monkeypatch):
    def missing(name):
        raise MissingWeights('cannot download them')

    monkeypatch.setattr(choice, 'shipped_fingerprint', missing)
    runs = [replace(run, backbone=replace(MINI, base='abc')) for run in tried(0.01, 90, 50)]
    with pytest.raises(MissingWeights):  # several models may be meant
        make_choice(runs)
    monkeypatch.setattr(choice, 'shipped_names', lambda arch: ['vim-mini'])
    said = 'taken for runs with vim-mini, whose weights are not here to compare'
    assert said in describe_choice(make_choice(runs))


def test_random_weights_are_not_chosen_for_the_shipped_ones():
    of_random = [replace(run, backbone=replace(MINI, base='random')) for run in tried(0.01, 90, 50)]
    loaded = [replace(run, backbone=replace(MINI, base='a' * 64)) for run in tried(0.003, 80, 61)]
    with pytest.raises(UserError, match=r'the runs have vim_mini and vim_mini \(random\)'):
        make_choice([*of_random, *loaded])


@pytest.mark.parametrize(
    ('name', 'content', 'reason'),
    [
        ('notes.md', b'# no list\nbut a text\n', 'is not a list of runs'),
        ('other.csv', b'method,task\nx,y\n', "it has no 'seed'"),
        ('nothing.csv', b'', 'lists no runs'),
        ('weights', b'\xff\xfe\n\xff\n', 'is not a list of runs'),
        ('photo.png', b'\x89PNG', 'is an image: give the folder of the runs'),
    ],
)
def test_another_file_is_no_list_to_choose_by(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    assert reason in run_tool('report', tmp_path / name, '--choose').error()


@pytest.mark.parametrize('option', [('--ranks', 'vim_small'), ('--baseline', 'lora')])
def test_a_choice_makes_no_report(tmp_path, option):
    error = run_tool('report', tmp_path, '--choose', *option).error()
    assert error.endswith('leave --ranks and --baseline out')


def test_no_runs():
    with pytest.raises(UserError, match='0 of 0 runs'):
        make_choice([])


def save_sweep(folder, results):
    methods = dict.fromkeys(result.method for result in results)
    plan(folder, methods, TASKS, [0])
    content = json.loads((folder / 'sweep.json').read_text())
    content['options'] = {'validate': True}
    (folder / 'sweep.json').write_text(json.dumps(content))
    return save_runs(folder, results)


def test_the_tool_writes_what_was_chosen_and_the_runs_that_decided(tmp_path):
    results = [*tried(0.01, 90, 50), *tried(0.003, 80, 61)]
    sweep = save_sweep(tmp_path / 'sweep', results)
    outcome = run_tool('report', sweep, '--choose', '--out', tmp_path / 'out')
    assert outcome.status == 0, outcome
    assert '| lora   | lr=0.01      |   90.0 |             50.0 |     70.00 |' in outcome.out
    assert '| lora   | **lr=0.003** |   80.0 |             61.0 | **70.50** |' in outcome.out
    text = (tmp_path / 'out' / f'{NAME}.py').read_text()
    assert "    # 70.50 %\n    'lora': {'optim_wrapper.optimizer.lr': 0.003},\n" in text
    listed = tmp_path / 'out' / f'{NAME}_validation.csv'
    again = run_tool('report', listed, '--choose')  # beside it
    assert again.out == outcome.out
    again = run_tool('report', listed, '--choose', '--out', tmp_path / 'again')
    assert again.out.splitlines()[:-1] == outcome.out.splitlines()[:-1]
    for path in (tmp_path / 'out').iterdir():
        assert (tmp_path / 'again' / path.name).read_text() == path.read_text()


def test_nothing_is_written_while_runs_are_to_come(tmp_path):
    results = [*tried(0.01, 90, 50), *tried(0.003, 80)]
    sweep = save_sweep(tmp_path / 'sweep', results)
    set_status(sweep, 'sprites_location_lora_lr0.003_seed0', 'running')
    outcome = run_tool('report', sweep, '--choose', '--out', tmp_path / 'out')
    assert '1 runs are not finished, so nothing is chosen' in outcome.error()
    assert 'runs are missing' in outcome.out
    assert 'not finished: sprites_location_lora_lr0.003_seed0: running' in outcome.out
    assert not (tmp_path / 'out').exists()
    set_status(sweep, 'sprites_location_lora_lr0.003_seed0', 'failed', 'loss is NaN')
    outcome = run_tool('report', sweep, '--choose', '--out', tmp_path / 'out')
    assert outcome.status == 0, outcome
    assert 'failed, loss is NaN' in outcome.out
    assert '0.01' in (tmp_path / 'out' / f'{NAME}.py').read_text()


def test_a_run_that_a_list_has_twice_counts_once(tmp_path):
    results = [*tried(0.001, 50, 50), *tried(0.01, 90, 50), *tried(0.001, 95, 50)]
    (tmp_path / 'runs.csv').write_text(write_run_list(results))
    found = read_choice(tmp_path / 'runs.csv')
    assert {p.settings[LR]: p.mean for p in found.points['lora']} == {0.01: 70.0, 0.001: 72.5}
    assert len(found.results) == 4
    assert sum('is left out' in remark for remark in found.remarks) == 2


def test_what_was_chosen_on_tasks_of_ones_own_is_for_the_command_line(tmp_path):
    birds = os.fsdecode(b'ois\xe9aux')
    results = [
        make_result('lora_lr0.01', birds, split='val200', settings={LR: 0.01}, backbone=MINI)
    ]
    said = write_choice(make_choice(results), tmp_path)
    assert 'with --cfg-options KEY=VALUE' in said
    assert str(SETTINGS) not in said
    (listed,) = tmp_path.glob('own_*_validation.csv')
    assert b'ois\xe9aux' in listed.read_bytes()


# Validation is never mixed with the test


@pytest.fixture
def both(tmp_path):
    """A test, and a validation with and without a grid, of one method, task and seed."""
    untried = [make_result('lora', top1=40.0, split='val200', backbone=MINI)]
    save_sweep(tmp_path / 'validation', [*tried(0.01, 90, 50), *untried])
    save_runs(tmp_path / 'test', [make_result('lora', top1=60.0, backbone=MINI)])
    return tmp_path


def test_each_split_has_tables_of_its_own(both):
    runs, remarks = collect_runs(both)
    assert len([run for run in runs if run.result]) == 4
    assert not remarks
    results = [run.result for run in runs if run.result]
    first, second = sorted(accuracy_table(results).split('\n\n'), key=len)
    assert 'val200' not in first
    assert '60.0' in first
    assert '60.0' not in second
    assert second.startswith('| method (1 seed), top-1 (%) on val200')
    sections = make_content('x', runs, remarks, None).sections
    titles = {section.scores.title.partition(', ')[2]: section.scores for section in sections}
    assert titles.keys() == {'accuracy/top1', 'accuracy/top1 on val200'}
    tested = titles['accuracy/top1']
    # A run of the validation's sweep that has no result is not one of the test.
    assert [(run.method, run.task) for run in tested.runs] == [('lora', 'digits')]


def test_a_report_of_validation_alone_says_so(tmp_path):
    sweep = save_sweep(tmp_path / 'sweep', tried(0.01, 90, 50))
    outcome = run_tool('report', sweep)
    assert outcome.status == 0, outcome
    assert 'top-1 (%) on val200' in outcome.out
    assert 'val200' in (sweep / 'report.md').read_text()
    assert 'accuracy/top1 on val200' in (sweep / 'report.csv').read_text()
    header, first, *_ = (sweep / 'runs.csv').read_text().splitlines()
    assert header.endswith('split,settings')
    assert 'val200' in first


def test_the_table_of_methods_has_tests_alone(both):
    config = load_config(str(DEMO), {}, None)
    runs, _ = measured_runs(config, both)
    assert measured_accuracies(config, runs) == {'lora': '60.00 (1 of 3 tasks)'}


def test_a_list_of_runs_keeps_split_and_settings():
    results = [*tried(0.01, 90, 50), make_result('lora', top1=60.0, backbone=MINI)]
    again = read_run_list(write_run_list(results))
    assert [r.measure for r in again] == [Metric(split='val200')] * 2 + [Metric()]
    assert [r.settings for r in again] == [{LR: 0.01}] * 2 + [{}]
    assert [r.untried_method for r in again] == ['lora'] * 3
    assert again[0].backbone == MINI


# What is shipped


def test_shipped_settings_are_those_that_the_committed_runs_choose():
    files = {path.stem: path for path in SETTINGS.glob('*.py')}
    lists = {
        path.stem.removesuffix('_validation'): path
        for path in (REPOSITORY / 'docs' / 'results').glob('*_validation.csv')
    }
    assert files.keys() == lists.keys()
    for name, path in files.items():
        choice = read_choice(lists[name])
        assert settings_text(choice) == path.read_text()
        assert name == f'{choice.benchmark.name}_{choice.backbone}'
        # Other weights want other settings.
        bases = {result.backbone.base for result in choice.results} - {'random'}
        assert bases == {shipped_fingerprint(choice.backbone)}
