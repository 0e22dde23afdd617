"""Runs that are killed, ended, starved of disk, fed with damage or with malice."""

import errno
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from helpers import (
    DEMO,
    EACH_EPOCH,
    REPOSITORY,
    VALIDATION,
    as_arguments,
    make_task,
    run_tool,
    tiny_options,
)
from processes import start

from memba_vision.errors import ExitStatus, UserError
from memba_vision.runs.checkpoints import newest_readable
from memba_vision.runs.record import git_state
from memba_vision.weights import read_checkpoint

EPOCHS = 6


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """The task 'digits' with 16 training and 6 test images: two steps an epoch."""
    root = tmp_path_factory.mktemp('data')
    make_task(root, 'digits', train=12, val=4, test=6)
    return root


@pytest.fixture(scope='module')
def options(base, data) -> dict:
    return tiny_options(base, data, **EACH_EPOCH, **{'train_cfg.max_epochs': EPOCHS})


@pytest.fixture(scope='module')
def straight(options, tmp_path_factory) -> Path:
    """The folder of an undisturbed run; not to be changed."""
    work_dir = tmp_path_factory.mktemp('straight') / 'run'
    assert train(options, work_dir).status == 0
    return work_dir


def train(options: dict, work_dir: Path, *arguments: object, config: Path = DEMO):
    return run_tool('train', config, '--work-dir', work_dir, *arguments, *as_arguments(options))


def config_with(folder: Path, text: str) -> Path:
    path = folder / 'digits_memba.py'
    path.write_text(
        f'_base_ = {str(DEMO)!r}\n'
        "custom_imports = dict(imports=['memba_vision', 'run_hooks'])\n"
        f'{text}\n'
    )
    return path


def assert_equal(found: object, wanted: object) -> None:
    if isinstance(wanted, torch.Tensor):
        assert torch.equal(found, wanted)
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        assert_equal(list(found.values()), list(wanted.values()))
    elif isinstance(wanted, list | tuple):
        for pair in zip(found, wanted, strict=True):
            assert_equal(*pair)
    else:
        assert found == wanted


def assert_same_end(work_dir: Path, straight: Path, epochs: int = EPOCHS) -> None:
    name = f'epoch_{epochs}.pth'
    found, wanted = (read_checkpoint(str(folder / name)) for folder in (work_dir, straight))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(found[part], wanted[part])
    accuracies = [
        json.loads((folder / 'result.json').read_text())['top1'] for folder in (work_dir, straight)
    ]
    assert accuracies[0] == accuracies[1]


# Killed at random moments


def kill_and_resume(options: dict, folder: Path, epochs: int, kills: int) -> Path:
    """Kill a run that often, with ``--resume`` each time, then let it end; its folder."""
    work_dir, log, rng = folder / 'run', folder / 'log', random.Random(kills)
    arguments = ['train', DEMO, '--work-dir', work_dir, '--resume', *as_arguments(options)]
    pause, done = 3.0, 0
    while done < kills:
        process = start(log, *arguments)
        began = time.monotonic()
        process.join(timeout=rng.uniform(0.0, pause))
        process.kill()
        process.join()
        if process.exitcode == -9:
            done += 1
            if not list(work_dir.glob('epoch_*.pth')):
                pause *= 1.2  # a slow machine: let it come as far as the first checkpoint
        else:  # it was quicker, and ended: what follows disturbs the test of a finished run
            assert process.exitcode == 0, log.read_text()[-2000:]
            pause = min(pause, time.monotonic() - began)
    process = start(log, *arguments)
    process.join()
    assert process.exitcode == 0, log.read_text()[-2000:]
    assert 'Traceback' not in log.read_text()
    assert len(list(work_dir.glob('epoch_*.pth'))) == 2
    assert not [path for path in work_dir.iterdir() if path.name.startswith('.')], 'left-overs'
    return work_dir


def test_killed_three_times(options, straight, tmp_path):
    work_dir = kill_and_resume(options, tmp_path, EPOCHS, kills=3)
    assert_same_end(work_dir, straight)


@pytest.mark.slow
def test_killed_twenty_times(options, tmp_path):
    options = {**options, 'train_cfg.max_epochs': 24}
    assert train(options, tmp_path / 'straight').status == 0
    work_dir = kill_and_resume(options, tmp_path, 24, kills=20)
    assert_same_end(work_dir, tmp_path / 'straight', 24)


# Random transforms, in processes that load data


FLIPS = """
train_dataloader = dict(num_workers=4, persistent_workers={persistent}, dataset=dict(pipeline=[
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(48, 48), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='RandomErasing', erase_prob=0.5),
    dict(type='PackInputs'),
]))
"""


@pytest.mark.slow
@pytest.mark.parametrize('persistent', [True, False])
def test_random_transforms_are_the_same_after_a_resumption(options, tmp_path, persistent):
    config = config_with(tmp_path, FLIPS.format(persistent=persistent))
    options = options | {'train_cfg.max_epochs': 4, 'train_dataloader.batch_size': 2}
    assert train(options, tmp_path / 'straight', config=config).status == 0
    hook = "custom_hooks = [dict(type='SignalHook', epoch=2, batch=1)]"
    (tmp_path / 'stopped').mkdir()
    stopped = config_with(tmp_path / 'stopped', FLIPS.format(persistent=persistent) + hook)
    assert train(options, tmp_path / 'run', config=stopped).status == 143
    assert train(options, tmp_path / 'run', '--resume', config=config).status == 0
    assert_same_end(tmp_path / 'run', tmp_path / 'straight', 4)


# Asked to end


RARELY = {'default_hooks.checkpoint.interval': 10}


@pytest.mark.parametrize(
    ('epoch', 'batch', 'kept', 'name', 'reason'),
    [
        (3, 1, 3, 'SIGTERM', 'by SIGTERM'),
        (5, 1, 5, 'SIGUSR2', 'at its time limit (SIGUSR2)'),
        (0, 0, 0, 'SIGTERM', 'by SIGTERM'),
    ],
)
def test_sigterm_writes_a_checkpoint_and_has_a_status_of_its_own(
    options, straight, tmp_path, epoch, batch, kept, name, reason
):
    work_dir = tmp_path / 'run'
    moment = f"epoch={epoch}, batch={batch}, name='{name}'"
    hook = f"custom_hooks = [dict(type='SignalHook', {moment})]"
    outcome = train(options | RARELY, work_dir, config=config_with(tmp_path, hook))
    assert outcome.status == 143
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith(f'stopped {reason} in epoch {epoch + 1} at step')
    assert 'go on with --resume' in last
    names = {path.name for path in work_dir.glob('*.pth')}
    assert names == ({f'epoch_{kept}.pth'} if kept else set())
    outcome = train(options | RARELY, work_dir, '--resume')
    assert outcome.status == 0
    assert ('resumed epoch' in outcome.out) == bool(kept)
    assert_same_end(work_dir, straight)


@pytest.fixture
def listens_to_ctrl_c():
    """Undo that a shell starts commands in the background deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures('listens_to_ctrl_c')
def test_ctrl_c_costs_no_finished_epoch(options, straight, tmp_path):
    hook = "custom_hooks = [dict(type='SignalHook', epoch=3, batch=1, name='SIGINT')]"
    work_dir = tmp_path / 'run'
    outcome = train(options | RARELY, work_dir, config=config_with(tmp_path, hook))
    assert outcome.status == ExitStatus.INTERRUPTED
    assert [path.name for path in work_dir.glob('*.pth')] == ['epoch_3.pth']
    saved = f'interrupted in epoch 4; saved is {work_dir}/epoch_3.pth: go on with --resume'
    assert outcome.err.strip().splitlines()[-1] == saved
    outcome = train(options | RARELY, work_dir, '--resume')
    assert 'resumed epoch: 3' in outcome.out
    assert 'resumed key' not in outcome.out + outcome.err
    assert_same_end(work_dir, straight)


@pytest.mark.usefixtures('listens_to_ctrl_c')
def test_ctrl_c_before_anything_is_there(options, tmp_path):
    hook = "custom_hooks = [dict(type='SignalHook', epoch=0, batch=1, name='SIGINT')]"
    outcome = train(options | RARELY, tmp_path / 'run', config=config_with(tmp_path, hook))
    assert outcome.status == ExitStatus.INTERRUPTED
    assert outcome.err.strip().endswith('before the first epoch had ended: nothing is saved')


@pytest.mark.parametrize('patience', [2, 9], ids=['early stopping', 'best alone'])
@pytest.mark.parametrize(
    'saved', [1, pytest.param(99, marks=pytest.mark.slow)], ids=['each epoch', 'rarely']
)
def test_a_resumed_run_chooses_and_stops_as_without_the_interruption(
    options, data, tmp_path, patience, saved
):
    # The third epoch is the best. The fifth is better than all others, and comes after resuming.
    hooks = (
        "dict(type='ScoreHook', scores=[10, 20, 50, 30, 40, 35]), "
        f"dict(type='EarlyStoppingHook', monitor='accuracy/top1', patience={patience})"
    )
    text = VALIDATION.format(data_root=str(data)) + (
        "default_hooks = dict(checkpoint=dict(save_best='accuracy/top1', rule='greater'))\n"
    )
    options = options | {'default_hooks.checkpoint.interval': saved}
    for name, more in {
        'straight': '',
        'resumed': "dict(type='SignalHook', epoch=3, batch=1)",
    }.items():
        if more:
            config = config_with(tmp_path, f'{text}custom_hooks = [{hooks}, {more}]')
            assert train(options, tmp_path / name, config=config).status == 143
        config = config_with(tmp_path, f'{text}custom_hooks = [{hooks}]')
        assert train(options, tmp_path / name, '--resume', config=config).status == 0
        lines = (tmp_path / name / 'losses.jsonl').read_text().splitlines()
        assert max(json.loads(line)['epoch'] for line in lines) == (5 if patience == 2 else 6)
        best = [path.name for path in (tmp_path / name).glob('best_*.pth')]
        assert best == ['best_accuracy_top1_epoch_3.pth']


def test_sigterm_that_the_data_processes_get_too(options, tmp_path):
    hook = "custom_hooks = [dict(type='SignalHook', epoch=3, batch=0, workers_too=True)]"
    text = f'{hook}\ntrain_dataloader = dict(num_workers=2, persistent_workers=True)'
    arguments = ['--work-dir', tmp_path / 'run', *as_arguments(options | RARELY)]
    # Not in this process: torch would raise what it thinks of the deaths in a later test.
    process = start(tmp_path / 'log', 'train', config_with(tmp_path, text), *arguments)
    process.join()
    assert process.exitcode == 143, (tmp_path / 'log').read_text()
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['epoch_3.pth']


def test_sigterm_leaves_no_more_checkpoints_than_asked_for(options, tmp_path):
    work_dir = tmp_path / 'run'
    for epoch in (1, 2, 3):
        hook = f"custom_hooks = [dict(type='SignalHook', epoch={epoch}, batch=0)]"
        config = config_with(tmp_path, hook)
        assert train(options | RARELY, work_dir, '--resume', config=config).status == 143
    assert train(options | RARELY, work_dir, '--resume').status == 0
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_3.pth', 'epoch_6.pth'}


def test_a_run_that_counts_steps_saves_where_it_is(options, tmp_path):
    text = (
        "custom_hooks = [dict(type='SignalHook', epoch=0, batch=3)]\n"
        'train_cfg = dict(_delete_=True, by_epoch=False, max_iters=8)\n'
        'param_scheduler = []\n'
        'default_hooks = dict(checkpoint=dict(by_epoch=False, interval=100))'
    )
    of_epochs = ('param_', 'train_cfg', *EACH_EPOCH)
    kept = {k: v for k, v in options.items() if not k.startswith(of_epochs)}
    config = config_with(tmp_path, text)
    assert train(kept, tmp_path / 'run', config=config).status == 143
    assert read_checkpoint(str(tmp_path / 'run/iter_4.pth'))['meta']['iter'] == 4


# No room on the disk


def test_a_full_disk_stops_with_an_error_and_keeps_what_is_good(options, straight, tmp_path):
    work_dir, log = tmp_path / 'run', tmp_path / 'log'
    config = config_with(tmp_path, "custom_hooks = [dict(type='FullDiskHook')]")
    common = ['--work-dir', work_dir, *as_arguments(options)]
    process = start(log, 'train', config, *common)
    process.join()
    text = log.read_text()
    assert process.exitcode == ExitStatus.DISK_FULL, text
    assert 'Traceback' not in text
    error = text.strip().splitlines()[-1]
    assert error.startswith('error: cannot write ')
    assert 'free some space' in error
    assert 'File too large' in error  # what the system says where a limit stands in for the disk
    assert newest_readable(str(work_dir)) == work_dir / 'epoch_2.pth'
    assert train(options, work_dir, '--resume').status == 0
    assert_same_end(work_dir, straight)


@pytest.mark.parametrize('kept', [1, 2])
@pytest.mark.parametrize('hook', ['FullDiskHook', 'BreakWeightsHook'])
def test_an_old_checkpoint_goes_when_the_new_one_is_whole(options, tmp_path, hook, kept):
    work_dir, log = tmp_path / 'run', tmp_path / 'log'
    config = config_with(tmp_path, f"custom_hooks = [dict(type='{hook}')]")
    number = {'default_hooks.checkpoint.max_keep_ckpts': kept}
    arguments = ['--work-dir', work_dir, *as_arguments(options | number)]
    process = start(log, 'train', config, *arguments)
    process.join()
    statuses = {'FullDiskHook': ExitStatus.DISK_FULL, 'BreakWeightsHook': ExitStatus.USER_ERROR}
    assert process.exitcode == statuses[hook], log.read_text()
    names = sorted(path.name for path in work_dir.glob('*.pth'))
    assert names == ['epoch_1.pth', 'epoch_2.pth'][-kept:]


@pytest.mark.parametrize(
    ('number', 'expected', 'status'),
    [
        (errno.ENOSPC, 'cannot write config.py (No space', ExitStatus.DISK_FULL),
        (errno.EACCES, 'no access to config.py', ExitStatus.USER_ERROR),
        (errno.EEXIST, 'config.py: a file has the place of a folder', ExitStatus.USER_ERROR),
    ],
)
def test_a_run_that_cannot_write_its_first_file(
    options, tmp_path, monkeypatch, number, expected, status
):
    def refuse(*_):
        raise OSError(number, os.strerror(number), 'config.py')

    monkeypatch.setattr('mmengine.config.Config.dump', refuse)
    assert train(options, tmp_path / 'run').error(status).startswith(f'error: {expected}')


# Numbers and processes that go wrong


def test_the_batch_of_a_loss_that_is_not_finite_is_written_down(options, data, tmp_path):
    std = {'data_preprocessor.std': '[1e-38,1e-38,1e-38]'}
    error = train(options | std, tmp_path / 'run').error()
    assert 'learning rate 3e-06' in error
    facts = json.loads((tmp_path / 'run/not_finite_rank0.json').read_text())
    assert (facts['step'], facts['epoch'], facts['learning_rate']) == (1, 1, 3e-6)
    assert len(facts['images']) == 8
    assert all(Path(path).is_relative_to(data) and Path(path).exists() for path in facts['images'])


@pytest.mark.parametrize('part', ['train', 'test'])
def test_a_data_process_that_dies_names_its_image(options, data, tmp_path, part):
    text = (
        "pipeline = [dict(type='DieAt', name='003.jpg'), *_base_.pipeline]\n"
        f'{part}_dataloader = dict(num_workers=2, dataset=dict(pipeline=pipeline))'
    )
    config = config_with(tmp_path, text)
    error = train(options | {'train_cfg.max_epochs': 2}, tmp_path / 'run', config=config).error()
    split = 'test' if part == 'test' else '(train800|val200)'
    assert 'a process that loads data died while it read ' in error
    assert re.search(rf'{data}/digits/images/{split}/003\.jpg \(', error)


# Damaged checkpoints


@pytest.mark.parametrize('seed', range(3))
def test_a_flipped_bit_is_found_or_does_no_harm(straight, tmp_path, seed):
    path, rng = tmp_path / 'epoch_6.pth', random.Random(seed)
    content = (straight / path.name).read_bytes()
    wanted, found = read_checkpoint(str(straight / path.name)), 0
    for _ in range(40):
        flipped = bytearray(content)
        flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        try:
            assert_equal(read_checkpoint(str(path)), wanted)
        except UserError as error:
            assert '\n' not in str(error)
            found += 1
    assert found > 10


def test_a_flipped_bit_in_the_weights_falls_back_to_the_checkpoint_before(
    options, straight, tmp_path
):
    work_dir = shutil.copytree(straight, tmp_path / 'run')
    path = work_dir / 'epoch_6.pth'
    weights = read_checkpoint(str(path))['state_dict']['head.fc.weight']
    content, needle = path.read_bytes(), weights.numpy().tobytes()
    assert content.count(needle) == 1
    flipped = bytearray(content)
    flipped[content.index(needle) + 40] ^= 1
    path.write_bytes(flipped)
    torch.load(path, weights_only=True)  # torch alone sees nothing
    outcome = train(options, work_dir, '--resume')
    assert f'passed over: {path}' in outcome.out
    assert f'Loaded {work_dir}/epoch_5.pth' in outcome.out
    assert_same_end(work_dir, straight)


# Malice


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def canary(tmp_path):
    """A folder that malicious code would make; the test fails if it is there in the end."""
    path = tmp_path / 'canary'
    yield path
    assert not path.exists(), 'code from a file of weights was run'
    pickle.loads(pickle.dumps(Canary(path)))
    assert path.exists(), 'the canary cannot sing'


def test_the_config_in_a_checkpoint_is_not_run(options, straight, tmp_path, canary):
    work_dir = shutil.copytree(straight, tmp_path / 'run')
    checkpoint = read_checkpoint(str(work_dir / 'epoch_5.pth'))
    code = f'import os\nos.mkdir({str(canary)!r})\n'
    checkpoint['meta'] |= {'config': code, 'cfg': code}
    evil = tmp_path / 'evil.pth'
    torch.save(checkpoint, evil)
    assert train(options, work_dir, '--resume', evil).status == 0
    assert_same_end(work_dir, straight)
    assert run_tool('test', DEMO, evil, '--work-dir', work_dir, *as_arguments(options)).status == 0


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize(
    'tool',
    [
        ('weights', 'verify', 'EVIL', '--name', 'small'),
        ('weights', 'convert', 'EVIL', 'out.safetensors'),
        ('export', 'EVIL', 'out.safetensors'),
    ],
    ids=' '.join,
)
def test_tools_for_weights_run_no_pickled_code(tmp_path, canary, tool, legacy):
    evil = tmp_path / 'evil.pth'
    torch.save({'model': Canary(canary)}, evil, _use_new_zipfile_serialization=not legacy)
    arguments = [str(evil) if part == 'EVIL' else part for part in tool]
    assert 'holds pickled Python objects' in run_tool(*arguments).error()


@pytest.mark.parametrize(
    'changes',
    [
        {'model.pretrained': 'EVIL'},
        {'model.head.init_cfg.type': 'Pretrained', 'model.head.init_cfg.checkpoint': 'EVIL'},
        {'load_from': 'EVIL'},
    ],
    ids=str,
)
def test_weights_that_mmengine_loads_itself_run_no_pickled_code(options, tmp_path, canary, changes):
    evil = tmp_path / 'evil.pth'
    torch.save({'model': Canary(canary)}, evil)
    changes = {key: evil if value == 'EVIL' else value for key, value in changes.items()}
    error = train(options | changes, tmp_path / 'run').error()
    assert f'{evil} holds pickled Python objects' in error


def test_a_downloaded_checkpoint_runs_no_pickled_code(tmp_path, canary, file_server):
    torch.save({'model': Canary(canary)}, file_server.folder / 'vim.pth')
    url = f'{file_server.url}/vim.pth'
    outcome = run_tool('weights', 'fetch', 'small', '--url', url, '--out', tmp_path / 'new')
    assert 'holds pickled Python objects' in outcome.error()


# What a run was


def test_the_record_is_enough_to_repeat_the_run(options, straight, tmp_path, data):
    starts = json.loads((straight / 'run.json').read_text())
    assert len(starts) == 1
    (start_,) = starts
    assert start_['seed'] == 0
    assert start_['config']['train_cfg']['max_epochs'] == EPOCHS
    assert start_['command'][1].endswith('tools/train.py')
    assert len(start_['base_fingerprint']) == 64
    git = ['git', 'rev-parse', 'HEAD']
    head = subprocess.run(git, cwd=REPOSITORY, capture_output=True, text=True).stdout.strip()
    assert (start_['git'] or {'commit': ''})['commit'] == head
    assert start_['versions']['torch'].startswith(torch.__version__.split('+')[0])
    assert start_['data']['train']['images'] == 16
    assert start_['data']['train']['manifest_sha256'] is None
    assert len(start_['data']['test']['list_sha256']) == 64


def test_a_file_that_git_does_not_know_has_no_commit(tmp_path):
    (tmp_path / 'file.py').write_text('')
    assert git_state(tmp_path / 'file.py') is None


def test_each_start_adds_to_the_record(options, straight, tmp_path):
    work_dir = shutil.copytree(straight, tmp_path / 'run')
    train(options, work_dir, '--resume')
    starts = json.loads((work_dir / 'run.json').read_text())
    assert [start_['resumed_from'] for start_ in starts] == [None, str(work_dir / 'epoch_6.pth')]
    (work_dir / 'run.json').write_text('{')
    assert train(options, work_dir, '--resume').status == 0
    assert len(json.loads((work_dir / 'run.json').read_text())) == 1
