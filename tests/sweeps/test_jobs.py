"""The runs of a sweep, and their folder."""

import json
import os
from pathlib import Path

import pytest
from helpers import CONFIGS, DEMO, run_tool
from mmengine.config import Config

from memba_vision.datasets.benchmarks import suites
from memba_vision.errors import UserError
from memba_vision.runs import presets
from memba_vision.runs.config_paths import absolute_paths
from memba_vision.runs.presets import preset_names
from memba_vision.sweeps import folder as sweep_folder
from memba_vision.sweeps.folder import enter, mark_waiting
from memba_vision.sweeps.jobs import SWEEP_FILE, Options, left_out, make_jobs
from memba_vision.sweeps.suites import suite_configs

LR, EPOCHS = 'optim_wrapper.optimizer.lr=0.01', 'train_cfg.max_epochs=7'


def demo_jobs(folder: Path, methods=('memba', 'lora'), seeds=(0, 1), **options):
    return make_jobs([str(DEMO)], methods, seeds, folder, Options(**options))


# Which runs


@pytest.mark.parametrize('suite', suites())
def test_each_task_of_a_suite_has_a_config(suite):
    configs = suite_configs(suite)
    assert len(set(configs)) == len(suites()[suite][1])
    assert all(Path(config).is_file() for config in configs)


def test_the_groups_make_up_vtab1k():
    natural, specialized, structured = map(suite_configs, ('natural', 'specialized', 'structured'))
    assert [*natural, *specialized, *structured] == suite_configs('vtab1k')


def test_the_groups_of_the_demo_have_names_of_their_own():
    groups = ('demo-natural', 'demo-specialized', 'demo-structured')
    assert [path for group in groups for path in suite_configs(group)] == suite_configs('demo')
    assert len(suite_configs('demo')) == 9
    assert all('/demo/' in path for path in suite_configs('demo'))


def test_every_seed_gives_a_whole_table(tmp_path):
    jobs = make_jobs(
        suite_configs('mini-vtab-1')[:2], ['memba', 'lora'], [0, 7], tmp_path, Options()
    )
    assert [job.name for job in jobs] == [
        f'{task}_{method}_seed{seed}'
        for seed in (0, 7)
        for task in ('digits', 'sprites_location')
        for method in ('memba', 'lora')
    ]
    assert jobs[-1].folder == tmp_path / jobs[-1].name
    assert (jobs[-1].task, jobs[-1].method, jobs[-1].seed) == ('sprites_location', 'lora', 7)
    assert [job.resolved.randomness.seed for job in jobs] == [0] * 4 + [7] * 4


def test_each_config_is_parsed_once(tmp_path, monkeypatch):
    demo_jobs(tmp_path)  # what is read once in a process
    presets._read_once.cache_clear()
    parse, parsed = Config.fromfile, []

    def counting(path, *args, **kwargs):
        parsed.append(Path(path).stem)
        return parse(path, *args, **kwargs)

    monkeypatch.setattr(Config, 'fromfile', counting)
    jobs = demo_jobs(tmp_path, seeds=range(5))
    assert len(jobs) == 10
    assert parsed[0] == 'digits_memba'
    assert len(parsed) == len(set(parsed))  # earlier tests may have read the presets
    first, second = (job.resolved for job in jobs[::2][:2])
    assert (first.randomness.seed, second.randomness.seed) == (0, 1)
    assert first.model is second.model, 'seeds share the rest'


def test_configs_keep_their_own_methods(tmp_path):
    configs = sorted(map(str, (CONFIGS / 'demo').glob('digits_*.py')))
    jobs = make_jobs(configs, [], [0], tmp_path, Options())
    assert [job.method for job in jobs] == ['linear_probing', 'lora', 'memba_gate', 'memba']


def test_a_sweep_of_an_older_version_keeps_its_folders(tmp_path):
    configs = [str(CONFIGS / 'demo' / 'digits_linear-probing.py')]
    (job,) = make_jobs(configs, [], [0], tmp_path, Options())
    older = {**job.record(), 'name': 'digits_linear-probing_seed0', 'method': 'linear-probing'}
    (tmp_path / SWEEP_FILE).write_text(json.dumps({'runs': [older]}))
    (job,) = make_jobs(configs, [], [0], tmp_path, Options())
    assert (job.name, job.method) == (older['name'], 'linear_probing')


def test_all_methods(tmp_path):
    jobs = demo_jobs(tmp_path, ['all'], [0])
    assert [job.method for job in jobs] == [name for name in preset_names() if name != 'lora_qv']
    assert left_out(jobs) == ['lora_qv']


def test_all_methods_that_a_backbone_can_take(tmp_path):
    backbones = ['vim-mini-v2', 'vit-mini-v2']
    jobs = make_jobs([str(DEMO)], ['all'], [0], tmp_path, Options(), backbones)
    methods: dict[str, set[str]] = {}
    for job in jobs:
        methods.setdefault(job.backbone.arch, set()).add(job.method)
    assert methods['vim_mini'] == {*preset_names()} - {'lora_qv'}
    assert {'lora', 'lora_qv', 'vpt_deep'} < methods['vit_mini']
    assert not {'memba', 'conv1d_tuning', 'lorap_x'} & methods['vit_mini']
    assert left_out(jobs) == []


def test_the_command_line_of_a_run(tmp_path):
    job = demo_jobs(tmp_path, ['lora'], [3], cfg_options=(LR, EPOCHS), amp=True)[0]
    tool, config, *rest = job.command()[1:]
    assert (Path(tool).name, config) == ('train.py', str(DEMO))
    assert ' '.join(rest) == (
        f'--work-dir {job.folder} --resume auto --seed 3 --amp --peft lora '
        f'--cfg-options {LR} {EPOCHS}'
    )
    assert job.resolved.optim_wrapper.optimizer.lr == 0.01
    assert job.length() == ('epochs', 7)
    assert job.resolved.optim_wrapper.type == 'BFloat16OptimWrapper'
    several = job.command(processes=4)
    launcher = '-m memba_vision.sweeps.launch --standalone --nproc_per_node 4'
    assert several[1:6] == launcher.split()
    assert several[-2:] == ['--launcher', 'pytorch']


def test_a_shipped_config_by_its_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = make_jobs(['demo/digits_memba'], [], [0], tmp_path, Options())[0]
    assert job.arguments[0] == str(DEMO)


@pytest.mark.parametrize(
    ('methods', 'options', 'expected'),
    [
        (['memba', 'memba'], {}, 'two runs would be called digits_memba_seed0'),
        (['nothing'], {}, '--peft nothing: no such method'),
        ([], {'cfg_options': ('lr',)}, "expected KEY=VALUE, found 'lr'"),
        ([], {'cfg_options': ('param_scheduler.9.end=1',)}, '--cfg-options: '),
    ],
)
def test_runs_that_cannot_be(tmp_path, methods, options, expected):
    with pytest.raises(UserError, match=expected):
        demo_jobs(tmp_path, methods, **options)


def test_a_config_without_a_task(tmp_path):
    path = str(CONFIGS / 'pretrain' / 'vim-mini_shapes.py')
    with pytest.raises(UserError, match='names no task'):
        make_jobs([path], [], [0], tmp_path, Options())


# The folder


def listed(folder: Path) -> dict:
    return json.loads((folder / 'sweep.json').read_text())


def test_the_folder_lists_its_runs(tmp_path):
    jobs = demo_jobs(tmp_path, cfg_options=(LR,))
    enter(tmp_path, jobs, Options((LR,)))
    assert listed(tmp_path)['runs'][1] == {
        'name': 'digits_lora_seed0',
        'config': str(DEMO),
        'method': 'lora',
        'task': 'digits',
        'seed': 0,
        'backbone': {'family': 'vim', 'arch': 'vim_mini', 'base': None},
    }


def test_runs_are_marked_as_waiting_but_those_that_have_begun(tmp_path):
    jobs = demo_jobs(tmp_path)
    jobs[0].folder.mkdir()
    (jobs[0].folder / 'status.json').write_text('{"state": "running"}')
    mark_waiting(jobs)
    status, *others = (json.loads((job.folder / 'status.json').read_text()) for job in jobs)
    assert status == {'state': 'running'}
    assert others == [{'state': 'waiting', 'message': '', 'tries': 0}] * 3


def test_runs_are_entered_without_a_wait_for_the_disk_for_each(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, 'fsync', flushed.append)
    jobs = demo_jobs(tmp_path, seeds=range(5))
    enter(tmp_path, jobs, Options())
    mark_waiting(jobs)
    assert len(flushed) < 5 < len(jobs)
    assert json.loads((jobs[0].folder / 'status.json').read_text())['state'] == 'waiting'


def test_runs_can_be_added_and_left_out(tmp_path):
    enter(tmp_path, demo_jobs(tmp_path, seeds=[0]), Options())
    enter(tmp_path, demo_jobs(tmp_path, seeds=[1]), Options())
    names = [run['name'] for run in listed(tmp_path)['runs']]
    assert names == [job.name for job in demo_jobs(tmp_path)]


def test_other_options_are_refused(tmp_path):
    enter(tmp_path, demo_jobs(tmp_path), Options())
    with pytest.raises(UserError, match=r'begun with other settings: cfg_options.*lr was not set'):
        enter(tmp_path, demo_jobs(tmp_path, cfg_options=(LR,)), Options((LR,)))
    with pytest.raises(UserError, match='amp was False, is True'):
        enter(tmp_path, demo_jobs(tmp_path, amp=True), Options(amp=True))
    assert listed(tmp_path)['options'] == {'amp': False, 'cfg_options': {}}


def test_a_restart_flattens_no_config_that_is_the_same(tmp_path, monkeypatch):
    """With 3,800 finished runs that would take most of the time of a restart."""
    seeds = range(20)
    jobs = demo_jobs(tmp_path, seeds=seeds)
    enter(tmp_path, jobs, Options())
    mark_waiting(jobs)
    for job in jobs:
        config = absolute_paths({**job.resolved.to_dict(), 'work_dir': str(job.folder)})
        (job.folder / 'run.json').write_text(json.dumps([{'config': config}]))
    plain, variants = sweep_folder.plain_settings, []
    monkeypatch.setattr(sweep_folder, 'plain_settings', lambda c: variants.append(c) or plain(c))
    compared = []
    monkeypatch.setattr(sweep_folder, '_refuse_differences', lambda name, *_: compared.append(name))
    enter(tmp_path, jobs, Options())
    assert compared == [f'the sweep in {tmp_path}']
    assert len(variants) == len(jobs) / len(seeds)


def test_a_run_is_compared_with_the_start_that_it_began_with(tmp_path):
    jobs = demo_jobs(tmp_path)
    own = jobs[0].resolved.to_dict()
    other = {**own, 'train_cfg': {**own['train_cfg'], 'max_epochs': 1}}
    jobs[0].folder.mkdir()
    starts = [dict(config=config, resumed_from=None) for config in (other, own)]
    (jobs[0].folder / 'run.json').write_text(json.dumps(starts))
    enter(tmp_path, jobs, Options())
    (jobs[0].folder / 'run.json').write_text(json.dumps(starts[::-1]))
    with pytest.raises(UserError, match='max_epochs was 1, is'):
        enter(tmp_path, jobs, Options())


def test_a_run_of_another_config_is_refused(tmp_path):
    jobs = demo_jobs(tmp_path)
    before = jobs[0].resolved.to_dict()
    before['optim_wrapper']['optimizer']['lr'] = 0.5
    before['work_dir'] = 'of no matter'
    jobs[0].folder.mkdir()
    (jobs[0].folder / 'run.json').write_text(json.dumps([{'config': before}]))
    with pytest.raises(UserError) as error:
        enter(tmp_path, jobs, Options())
    assert 'digits_memba_seed0 was begun with other settings' in str(error.value)
    assert 'optim_wrapper.optimizer.lr was 0.5, is 0.003. Give the same' in str(error.value)
    before['optim_wrapper']['optimizer']['lr'] = 0.003
    (jobs[0].folder / 'run.json').write_text(json.dumps([{'config': before}]))
    enter(tmp_path, jobs, Options())


# Several backbones

TINY = """_base_ = '{demo}'
model = dict(
    backbone=dict(module=dict(arch=dict(embed_dims=16, num_layers=2))),
    neck=dict(input_features=16),
    head=dict(in_channels=16),
)
"""


@pytest.fixture
def tiny(tmp_path) -> str:
    """The demo's config with a smaller backbone, in a file of the same name."""
    path = tmp_path / 'digits_memba.py'
    path.write_text(TINY.format(demo=DEMO))
    return str(path)


def test_names_of_runs_tell_two_backbones_apart(tmp_path, tiny):
    jobs = make_jobs([str(DEMO), tiny], ['memba', 'scratch'], [0], tmp_path, Options())
    custom = jobs[-1].backbone.arch
    assert [job.name for job in jobs] == [
        f'digits_{arch}_{method}_seed0'
        for arch in ('vim_mini', custom)
        for method in ('memba', 'scratch')
    ]
    assert jobs[0].folder.name == jobs[0].name in jobs[0].command()[4]


def test_a_backbone_that_is_added_leaves_the_names_of_the_others(tmp_path, tiny):
    before = demo_jobs(tmp_path)
    enter(tmp_path, before, Options())
    added = make_jobs([tiny], ['memba'], [0], tmp_path, Options())
    assert [job.name for job in added] == [f'digits_{added[0].backbone.arch}_memba_seed0']
    enter(tmp_path, added, Options())
    assert [job.name for job in demo_jobs(tmp_path)] == [job.name for job in before]
    more = make_jobs([str(DEMO)], ['memba'], [5], tmp_path, Options())
    assert [job.name for job in more] == ['digits_vim_mini_memba_seed5']


def test_other_weights_of_the_same_architecture_want_a_sweep_of_their_own(tmp_path):
    path = tmp_path / 'digits_memba.py'
    path.write_text(
        f"_base_ = '{DEMO}'\n"
        "model = dict(backbone=dict(module=dict(init_cfg=dict(checkpoint='other.pth'))))\n"
    )
    with pytest.raises(UserError, match='other weights of the same architecture in a sweep with'):
        make_jobs([str(DEMO), str(path)], [], [0], tmp_path, Options())


@pytest.mark.parametrize('content', ['', '[]', '{"runs": [1]}', '{"runs": [{"name": 1}]}'])
def test_a_damaged_list(tmp_path, content):
    (tmp_path / 'sweep.json').write_text(content)
    with pytest.raises(UserError, match='cannot be read: remove it'):
        enter(tmp_path, demo_jobs(tmp_path), Options())


def test_backbones_take_the_place_of_the_configs_own(tmp_path):
    jobs = make_jobs([str(DEMO)], ['lora'], [0], tmp_path, Options(), ['vim-mini', 'vim-tiny'])
    assert [job.name for job in jobs] == [
        'digits_vim_mini_lora_seed0',
        'digits_vim_tiny_lora_seed0',
    ]
    assert [job.resolved.model.head.in_channels for job in jobs] == [96, 192]
    command = jobs[1].command()
    assert command[command.index('--backbone') + 1] == 'vim-tiny'


def test_configs_of_a_suite_are_written(tmp_path):
    folder = tmp_path / 'configs'
    arguments = ['--suite', 'natural', '--methods', 'lora', '--backbones', 'vim-tiny']
    outcome = run_tool('sweep', *arguments, '--write-configs', folder)
    files = {str(path) for path in folder.iterdir()}
    assert set(outcome.out.split()) == files
    assert len(files) == 7
    for other in (
        *(['--validate'], ['--amp'], ['--plan'], ['--epochs', 3], ['--seeds', 0, 1]),
        *(['--cfg-options', LR], ['--grid', 'scale=1,2']),
    ):
        error = run_tool('sweep', *arguments, '--write-configs', folder, *other).error()
        assert other[0] in error.partition('nothing of ')[2], error
    job = make_jobs(sorted(files)[:1], [], [0], tmp_path, Options())[0]
    assert (job.task, job.method, job.backbone.arch) == ('caltech101', 'lora', 'vim_tiny')
