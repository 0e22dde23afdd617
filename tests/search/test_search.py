"""Searches: on made-up accuracies, and with real trainings that are killed."""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from helpers import CONFIGS, DEMO, EACH_EPOCH, REPOSITORY, as_arguments, run_tool, tiny_options
from search_workers import work_at_once

from memba_vision.engine.checkpoint_folders import checkpoint_folders
from memba_vision.errors import DiskFull, UserError
from memba_vision.leases import machine
from memba_vision.runs.config import load_config
from memba_vision.search import bookkeeping
from memba_vision.search import search as searching
from memba_vision.search import study as studies
from memba_vision.search import trial as trial_module
from memba_vision.search.outcome import write_outcome
from memba_vision.search.search import Search, search
from memba_vision.search.space import Choices, Space, read_space
from memba_vision.search.study import SETTINGS
from memba_vision.search.trial import Died, Failed, Pruned, run_trial

MEMBA, HYBRID = (CONFIGS / 'search' / f'{name}.py' for name in ('memba_small', 'hybrid'))


@pytest.fixture
def make(tmp_path):
    """A search of the demo."""

    def call(space: Path | Space = MEMBA, options: dict | None = None, **changes) -> Search:
        settings = dict(
            config=load_config(str(DEMO), options or {}, None),
            space=read_space(space) if isinstance(space, Path) else space,
            folder=tmp_path / 'search',
            name='made',
            storage=f'sqlite:///{tmp_path}/search.db',
            trials=6,
            epochs=4,
        )
        return Search(**(settings | changes))

    return call


@pytest.fixture
def trainings(monkeypatch):
    """Accuracies come from a function of the config, and no training takes place."""
    configs = []

    def replace(accuracy):
        def run(config, report, beat):
            configs.append(config)
            value = accuracy(config)
            for epoch in range(1, config.train_cfg.max_epochs + 1):
                if report(epoch, value):
                    raise Pruned
            return value

        monkeypatch.setattr(searching, 'run_trial', run)
        return configs

    return replace


def by_rank(config) -> float:
    return 50.0 + config.model.backbone.rank


@pytest.mark.slow
def test_the_first_trial_is_the_config_as_it_is(make, trainings):
    configs = trainings(by_rank)
    task = make()
    trials = search(task)
    assert configs[0].model == task.config.model
    assert configs[0].optim_wrapper == task.config.optim_wrapper
    default = next(trial for trial in trials if trial.is_default)
    assert (default.number, default.accuracy) == (0, 66.0)
    assert trials[0].accuracy == 82.0  # rank 32
    assert len(configs) <= 6


def test_a_short_trial_has_the_whole_schedule(make, trainings):
    configs = trainings(by_rank)
    search(make(trials=1))
    warm_up, decay = configs[0].param_scheduler
    assert configs[0].train_cfg.max_epochs == 4
    assert (warm_up.end, decay.begin) == (0.4, 0.4)  # of 20 epochs it was 2


def test_trials_keep_their_checkpoints_in_their_folders(make, trainings):
    configs = trainings(by_rank)
    elsewhere = {'out_dir': '/shared', 'filename_tmpl': 'model_{}.bin'}
    options = {f'default_hooks.checkpoint.{key}': value for key, value in elsewhere.items()}
    task = make(options=options, trials=2)
    search(task)
    assert [checkpoint_folders(config)[0].folder for config in configs] == [
        task.folder / 'trials' / f'settings_{number:03d}' for number in range(2)
    ]
    assert all(place.template.endswith('.pth') for c in configs for place in checkpoint_folders(c))
    assert task.config.default_hooks.checkpoint.out_dir == '/shared'  # of the best, at the end


def test_without_anything_better_the_default_is_kept(make, trainings):
    trainings(lambda config: 50.0)
    task = make()
    trials = search(task)
    assert trials[0].is_default, 'a tie does not replace the default'
    write_outcome(task, trials)
    best = load_config(str(task.folder / 'best.py'), {}, None)
    assert best.model == task.config.model


def test_the_config_that_comes_out(make, trainings):
    trainings(by_rank)
    task = make()
    table = write_outcome(task, search(task))
    best = load_config(str(task.folder / 'best.py'), {}, None)
    assert best.model.backbone.rank == 32
    assert best.train_dataloader.dataset.split == 'train800val200'
    assert best.test_dataloader.dataset.split == 'test'
    assert best.train_cfg.max_epochs == 20, 'a search may be shorter than the training'
    assert best.work_dir == str(task.folder / 'best')
    assert 'the config as it is' in table
    assert 'rank=32' in table
    assert (task.folder / 'search.md').read_text() == table


def test_a_search_goes_on_and_does_not_repeat_itself(make, trainings):
    configs = trainings(by_rank)
    search(make(trials=3))
    assert len(configs) == 3
    trials = search(make(trials=5))
    assert len(configs) == 5
    rates = {trial.values['optim_wrapper.optimizer.lr'] for trial in trials}
    assert len(rates) == len(trials)


def test_other_settings_are_refused(make, trainings):
    trainings(by_rank)
    search(make(trials=2))
    with pytest.raises(UserError, match=r'other settings \(epochs was 4, is 9\)'):
        search(make(trials=2, epochs=9))
    with pytest.raises(UserError, match=r'other settings \(optim_wrapper\.optimizer\.lr was'):
        search(make(trials=2, options={'optim_wrapper.optimizer.lr': 1e-2}))


@pytest.mark.parametrize(
    ('storage', 'missing', 'expected'),
    [
        (
            'postgresql+psycopg://a:hidden@127.0.0.1:1/x',
            '',
            'see that postgresql runs at 127.0.0.1:1/x,',
        ),
        ('postgresql+psycopg://a:hidden@b/x', 'psycopg', "pip install 'psycopg[binary]' where"),
        (
            'postgresql+psycopg2://a:hidden@b/x',
            'psycopg2',
            'begin the address with postgresql+psycopg://',
        ),
        ('mysql://a:hidden@b/x', 'MySQLdb', 'pip install pymysql where the search runs'),
        ('mysql://a:hidden@b/x', 'MySQLdb', 'begin the address with mysql+pymysql://'),
        ('postgres://a:hidden@b/x', '', 'expected an address such as postgresql+psycopg://'),
        ('sqlite:////nowhere/x.db', '', 'unable to open database file): see that the place exists'),
        ('a word', '', 'expected an address such as postgresql+psycopg://'),
    ],
)
def test_a_storage_that_cannot_be_opened_says_what_to_do(monkeypatch, storage, missing, expected):
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=f'cannot be opened .*{re.escape(expected)}') as error:
        studies.open_study(storage, 'x', 'none', 4)
    assert 'hidden' not in str(error.value)


def test_a_search_of_an_older_version_goes_on(make, trainings):
    configs = trainings(by_rank)
    search(make(trials=2))
    begun = study(make())
    settings = begun.user_attrs[SETTINGS]
    del settings['default_hooks']['visualization']
    del settings['test_dataloader']['persistent_workers']
    begun.set_user_attr(SETTINGS, settings)
    search(make(trials=3))
    assert len(configs) == 3


def test_bad_trials_are_pruned_and_the_default_never(make, trainings):
    trainings(lambda config: 100.0 - config.model.backbone.rank)
    trials = search(make(trials=14))
    states = [t.state.name for t in study(make()).trials]
    assert states[0] == 'COMPLETE'
    assert 'PRUNED' in states
    assert len(states) == 14
    assert len(trials) == states.count('COMPLETE')


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--trials', '0'], 'expected 1 or more'),
        (['--epochs', '0'], 'expected 1 or more'),
        (['--seed', '-1'], 'expected 0 or more, found -1'),
        (['--launcher', 'pytorch'], 'a trial is one process'),
    ],
)
def test_what_the_tool_refuses(arguments, expected):
    outcome = run_tool('search', MEMBA, '--config', DEMO, *arguments)
    assert outcome.status == 2
    assert expected in outcome.err


def study(task, step='settings'):
    return optuna.load_study(study_name=f'{task.name}/{step}', storage=task.storage)


def test_a_failure_does_not_end_the_search(make, trainings):
    def accuracy(config):
        if config.model.backbone.rank > 16:
            raise Failed('the loss is nan')
        return by_rank(config)

    trainings(accuracy)
    told = []
    trials = search(make(trials=8, tell=told.append))
    assert max(trial.accuracy for trial in trials) == 66
    assert any(line.endswith('failed: the loss is nan') for line in told)
    failed = [t for t in study(make()).trials if t.state.name == 'FAIL']
    assert failed
    assert {t.user_attrs['error'] for t in failed} == {'the loss is nan'}


def test_failures_of_all_but_the_default_are_told(make, trainings):
    def accuracy(config):
        if config.model.backbone.rank != own:
            raise Failed('the loss is nan')
        return by_rank(config)

    own = make().config.model.backbone.rank
    trainings(accuracy)
    with pytest.raises(UserError, match='failed, 2 in all, the last because: the loss is nan'):
        search(make(trials=3))


def test_a_default_that_fails_ends_it(make, trainings):
    def accuracy(config):
        raise Failed('no data')

    trainings(accuracy)
    with pytest.raises(UserError, match='the config as it is cannot be trained: no data'):
        search(make())


def test_a_default_that_failed_is_tried_again_in_the_next_search(make, trainings):
    trainings(by_rank)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match='no disk'):
        patch.setattr(searching, 'run_trial', raising(Failed('no disk')))
        search(make(trials=2))
    assert [trial.is_default for trial in search(make(trials=2))].count(True) == 1


def test_a_default_that_always_dies_ends_it(make, trainings):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match='was killed'):
        patch.setattr(searching, 'run_trial', raising(Died('its process was killed')))
        search(make())
    assert [t.state.name for t in study(make()).trials] == ['FAIL'] * 3


def test_an_evolution_finds_more_than_the_default(make, trainings):
    trainings(by_rank)
    found = search(make(trials=12, sampler='evolution'))
    assert found[0].accuracy > next(trial.accuracy for trial in found if trial.is_default)
    assert [trial.values for trial in found] == [
        trial.values for trial in search(make(trials=12, sampler='evolution'))
    ]


def raising(error):
    def run(*arguments):
        raise error

    return run


def test_a_search_waits_for_what_other_workers_are_at(make, trainings, monkeypatch):
    trainings(lambda config: 50.0)
    search(make(trials=2))
    other = study(make()).ask()
    bookkeeping.heartbeat(other)
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        study(make()).tell(other.number, 99.0)

    monkeypatch.setattr(searching.time, 'sleep', sleep)
    assert search(make(trials=3))[0].accuracy == 99
    assert len(waited) == 1


def test_a_trial_that_dies_has_three_tries(make, trainings):
    def accuracy(config):
        if not config.work_dir.endswith('000'):
            raise Died('its process was killed')
        return 50.0

    configs = trainings(accuracy)
    with pytest.raises(UserError, match='failed, 1 in all, the last because: its process was kil'):
        search(make(trials=2))
    folders = [Path(config.work_dir).name for config in configs]
    assert folders == ['settings_000', *['settings_001'] * 3]
    tries = study(make()).trials[1:]
    assert len({json.dumps(t.params) for t in tries}) == 1


def test_a_search_that_is_interrupted_costs_a_trial_no_try(make, trainings):
    trainings(by_rank)
    for _ in range(5):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(searching, 'run_trial', raising(KeyboardInterrupt()))
            search(make(trials=2))
        last = study(make()).trials[-1]
        study(make())._storage.set_trial_user_attr(
            last._trial_id, 'worker', dict(machine=machine(), process='99999999@1')
        )
    trials = search(make(trials=2))
    assert [trial.is_default for trial in trials].count(True) == 1
    assert len(trials) == 2


def test_a_trial_that_another_worker_took_over(make, monkeypatch):
    calls = []

    def run(config, report, beat):
        calls.append(config.work_dir)
        if len(calls) == 2:
            bookkeeping.give_up(study(make()), 1, 'it gave no sign', counts_as_try=False)
        beat()
        return 50.0

    monkeypatch.setattr(searching, 'run_trial', run)
    told = []
    trials = search(make(trials=2, tell=told.append))
    assert any('was taken over by another worker' in line for line in told)
    assert [Path(call).name for call in calls] == ['settings_000', *['settings_001'] * 2]
    assert len(trials) == 2


def test_workers_that_look_at_the_same_time(make, trainings, monkeypatch):
    """Another worker queues the default and asks for the last trial between a look and a deed."""
    configs = trainings(by_rank)
    enqueue = studies.enqueue_default

    def enqueue_at_once(study, values):
        study.enqueue_trial(values, user_attrs={bookkeeping.DEFAULT: True})
        study.enqueue_trial(values, user_attrs={bookkeeping.DEFAULT: True})
        enqueue(study, values)

    def ask(study, step, own_values, task):
        # With 2 of 3, the other worker asks first, and runs its own.
        if len(studies.counted(study)) == 2 and not studies.trials_in(study, 'WAITING'):
            other = first_ask(study, step, own_values, replace(task, seed=99))
            asked = first_ask(study, step, own_values, task)
            study.tell(other.number, 40.0)
            return asked
        return first_ask(study, step, own_values, task)

    first_ask = studies.ask
    monkeypatch.setattr(studies, 'enqueue_default', enqueue_at_once)
    monkeypatch.setattr(studies, 'ask', ask)
    trials = search(make(trials=3))
    assert [trial.is_default for trial in trials].count(True) == 1
    assert len(trials) == 3
    assert len(configs) == 2, 'and one that the other ran'


@pytest.mark.slow
def test_workers_in_processes_of_their_own(make):
    work_at_once(make(trials=6, tell=print))


def test_a_full_disk_ends_the_search_and_loses_no_trial(make, trainings):
    trainings(by_rank)
    search(make(trials=1))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError, match='no space'):
        patch.setattr(searching, 'run_trial', raising(DiskFull('no space')))
        search(make(trials=3))
    assert len(search(make(trials=3))) == 3


def test_what_an_earlier_search_left_is_not_gone_on_with(make, monkeypatch):
    left = make().folder / 'trials' / 'settings_000' / 'epoch_1.pth'
    left.parent.mkdir(parents=True)
    left.touch()
    seen = []

    def run(config, report, beat):
        seen.extend(Path(config.work_dir).glob('*.pth'))
        return 50.0

    monkeypatch.setattr(searching, 'run_trial', run)
    search(make(trials=1))
    assert not seen


@pytest.mark.slow
def test_a_hybrid_search_that_finds_another_combination_later(make, trainings):
    scores = iter(range(1000))
    trainings(lambda config: next(scores))  # whatever comes later is better
    search(make(HYBRID, trials=6))
    trials = search(make(HYBRID, trials=14))
    names = optuna.get_all_study_names(make(HYBRID).storage)
    assert len(names) == 3, 'combinations, and the sizes of two of them'
    assert [t.accuracy for t in search(make(HYBRID, trials=14))] == [t.accuracy for t in trials]


def test_hybrid_search_in_two_steps(make, trainings):
    def accuracy(config):
        if config.model.backbone.type != 'PEFTModel':
            return 50.0
        adapters = config.model.backbone.adapters
        return 60.0 + len(adapters) + sum(a.get('rank', 0) for a in adapters) / 100

    trainings(accuracy)
    told = []
    task = make(HYBRID, tell=told.append, trials=6)
    trials = search(task)
    combinations = [t for t in trials if t.step.name == 'adapters']
    sizes = [t for t in trials if t.step.name == 'sizes']
    assert next(t for t in combinations if t.is_default).accuracy == 50
    best = max((t for t in combinations if not t.is_default), key=lambda t: t.accuracy)
    first = next(t for t in sizes if t.number == 0)
    assert first.accuracy == best.accuracy, 'the second step starts from the best of the first'
    assert trials[0].accuracy >= best.accuracy
    chosen = [name for name, used in best.values.items() if used]
    assert f'step 2: sizes of {", ".join(chosen)}' in told
    write_outcome(task, trials)
    found = load_config(str(task.folder / 'best.py'), {}, None)
    assert accuracy(found) == trials[0].accuracy
    # The same combination is not trained twice, and a search that is done repeats nothing.
    assert [t.accuracy for t in search(make(HYBRID, trials=6))] == [t.accuracy for t in trials]


def running(process: int | None, beat: float = 0.0, where: str | None = None):
    identity = bookkeeping._identity(process) if process else '99999999@1'
    notes = {
        'worker': dict(machine=where or machine(), process=identity),
        'beat': time.time() - beat,
    }
    return SimpleNamespace(user_attrs=notes)


def test_any_seed_draws_and_small_ones_as_ever(make, trainings):
    assert studies._seed(3, 2) == 300_011
    seeds = {studies._seed(seed, number) for seed in (0, 42_950, 10**12) for number in range(3)}
    assert len(seeds) == 9
    for sampler in ('tpe', 'evolution'):
        trainings(by_rank)
        assert search(make(trials=2, seed=10**12, sampler=sampler, name=sampler))


def test_a_trial_that_is_killed_while_its_accuracy_is_noted_has_died():
    ours, theirs = multiprocessing.Pipe()
    theirs.send(('epoch', 1, 50.0))

    def report(epoch, accuracy):
        theirs.close()

    with pytest.raises(Died, match='its process was killed'):
        trial_module._follow(ours, report, lambda: None)


@pytest.mark.parametrize(('gpu', 'method'), [(False, 'forkserver'), (True, 'spawn')])
def test_how_processes_start(monkeypatch, gpu, method):
    monkeypatch.setattr(trial_module.torch.cuda, 'is_available', lambda: gpu)
    assert trial_module._context().get_start_method() == method


def test_who_is_dead():
    process = subprocess.Popen(['sleep', '100'])
    trial = running(process.pid)
    assert not bookkeeping.is_dead(trial)
    process.kill()
    process.wait()
    assert bookkeeping.is_dead(trial)
    assert bookkeeping.is_dead(running(None))
    # Another process with the same number is another worker.
    reused = running(os.getpid())
    reused.user_attrs['worker']['process'] = f'{os.getpid()}@1'
    assert bookkeeping.is_dead(reused)
    assert not bookkeeping.is_dead(running(None, beat=10, where='elsewhere'))
    assert bookkeeping.is_dead(running(None, beat=1000, where='elsewhere'))


# Real trainings


@pytest.fixture
def data_without_test(data_root, tmp_path) -> Path:
    root = Path(shutil.copytree(data_root, tmp_path / 'data'))
    # mini-VTAB wants the file to be there; whoever reads it fails.
    (root / 'digits' / 'test.txt').write_text('no list at all\n')
    shutil.rmtree(root / 'digits' / 'images' / 'test')
    return root


@pytest.mark.slow
def test_killed_searches_go_on_and_never_look_at_the_test_split(base, data_without_test, tmp_path):
    options = tiny_options(base, data_without_test, **EACH_EPOCH, **{'train_cfg.max_epochs': 4})
    config = tmp_path / 'digits_disturbed.py'
    config.write_text(
        f'_base_ = {str(DEMO)!r}\n'
        "custom_imports = dict(imports=['memba_vision', 'run_hooks'])\n"
        f"custom_hooks = [dict(type='DisturbHook', folder={str(tmp_path)!r})]\n"
    )
    work_dir = tmp_path / 'search'
    arguments = [MEMBA, '--config', config, '--trials', '3', '--work-dir', work_dir]
    arguments += as_arguments(options)

    # The search is killed in the middle of its first trial, and takes that trial with it.
    command = [sys.executable, REPOSITORY / 'tools' / 'search.py', *arguments]
    paths = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / 'tests')))
    process = subprocess.Popen(command, env={**os.environ, 'PYTHONPATH': paths})
    trial = wait_for(tmp_path / 'waited', process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while bookkeeping._identity(trial) != '0@':
        assert time.monotonic() < deadline, 'the trial outlived its search'
        time.sleep(0.05)

    # The next one goes on; then the process of the trial is killed, and is tried again.
    outcome = run_tool('search', *arguments)
    assert outcome.status == 0, outcome
    assert 'settings 0: its worker was killed, it is taken up again' in outcome.out
    assert 'settings 1 (the config as it is): its process was killed' in outcome.out
    assert (tmp_path / 'died').exists()

    # What comes out of the disturbed default is what it gives undisturbed.
    found = optuna.load_study(study_name=None, storage=f'sqlite:///{work_dir}/search.db')
    trials = [t for t in found.trials if t.state.name == 'COMPLETE']
    default = next(t for t in trials if t.user_attrs.get('default'))
    straight = searching.trial_config(
        SimpleNamespace(config=load_config(str(config), options, None), epochs=4),
        None,
        default,
        tmp_path / 'straight',
    )
    curve = {}
    accuracy = run_trial(straight, lambda e, a: curve.update({e: a}), lambda: None)
    assert accuracy == default.value
    assert list(curve) == [1, 2, 3, 4]
    assert max(t.value for t in trials) >= default.value
    assert not list(work_dir.rglob('*.pth')), 'checkpoints of trials are of no use any more'

    # The best config wants the test split, as training does.
    error = run_tool('train', work_dir / 'best.py').error()
    assert 'test.txt, line 1: expected "relative/path label"' in error
    digits = data_without_test / 'digits'
    shutil.copy(digits / 'val200.txt', digits / 'test.txt')
    trained = run_tool('train', work_dir / 'best.py')
    assert trained.status == 0, trained
    assert (work_dir / 'best' / 'result.json').is_file()


@pytest.mark.slow
@pytest.mark.parametrize('space', ['glora', 'noah'])
def test_the_searches_of_papers_train_and_choose(base, data_root, tmp_path, space):
    of_data = tiny_options(base, data_root, **EACH_EPOCH).items()
    options = {key: value for key, value in of_data if not key.startswith('model.')}
    arguments = ['--config', DEMO, '--trials', '3', '--sampler', 'evolution']
    arguments += ['--work-dir', tmp_path, *as_arguments(options)]
    outcome = run_tool('search', CONFIGS / 'search' / f'{space}.py', *arguments)
    assert outcome.status == 0, outcome
    storage = f'sqlite:///{tmp_path}/search.db'
    trials = [
        trial
        for summary in optuna.get_all_study_summaries(storage)
        for trial in optuna.load_study(study_name=summary.study_name, storage=storage).trials
    ]
    # Two steps, the second of which begins with the best of the first.
    assert len(trials) == 6 and {t.state.name for t in trials} <= {'COMPLETE', 'PRUNED'}, outcome
    best = load_config(str(tmp_path / 'best.py'), {}, None).model.backbone.adapters
    assert {adapter.type for adapter in best} <= {'GLoRA', 'AdaptFormer', 'LoRA', 'VPT', 'LIM'}


def wait_for(path: Path, process: subprocess.Popen) -> int:
    deadline = time.monotonic() + 120
    while not (path.is_file() and path.read_text()):
        assert process.poll() is None, 'the search ended'
        assert time.monotonic() < deadline, f'{path} never came'
        time.sleep(0.05)
    return int(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize('gpu', [False, True])
def test_a_training_that_fails_says_why(base, data_root, tmp_path, monkeypatch, gpu):
    """Also the way processes are started where there is a GPU; this one sees none."""
    context = multiprocessing.get_context('spawn' if gpu else 'forkserver')
    monkeypatch.setattr(trial_module, '_context', lambda: context)
    options = tiny_options(base, data_root)
    options |= {'data_preprocessor.std': [1e-38] * 3}
    settings = SimpleNamespace(config=load_config(str(DEMO), options, None), epochs=2)
    first = SimpleNamespace(user_attrs={'default': True}, params={})
    config = searching.trial_config(settings, None, first, tmp_path)
    with pytest.raises(Failed, match=r'the loss is (nan|inf) at step 1'):
        run_trial(config, lambda epoch, accuracy: False, lambda: None)
    assert 'Traceback' in (tmp_path / 'log.txt').read_text()


def test_trials_have_the_epochs_that_they_try(make, trainings):
    configs = trainings(lambda config: float(config.train_cfg.max_epochs))
    key = 'train_cfg.max_epochs'
    space = Space({key: Choices((10, 40))}, {})
    task = make(epochs=None, space=space, trials=3)
    best, *_ = search(task)
    assert task.trial_epochs == 40
    assert {config.train_cfg.max_epochs for config in configs} == {10, 20, 40}
    for config in configs:
        wanted = load_config(str(DEMO), {key: config.train_cfg.max_epochs}, None)
        assert config.param_scheduler == wanted.param_scheduler
    assert best.values == {key: 40}
    with pytest.raises(UserError, match=f'^--epochs: the search space varies {key}'):
        search(make(space=space))
