"""Executors over scripts in place of trainings: this machine, Ray, and submitit's stand-in."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pretended_slurm
import pytest
import ray
from helpers import DEMO, run_tool
from script_jobs import (
    FINISH,
    UNTIL_TOLD,
    WAIT_ONCE,
    ScriptExecutor,
    arguments,
    script_job,
    status,
    sweep_with,
    wait_for,
)

from memba_vision.errors import ExitStatus, UserError
from memba_vision.sweeps import loop, slurm_queue
from memba_vision.sweeps.executors import EXECUTORS
from memba_vision.sweeps.executors import slurm as slurm_executor
from memba_vision.sweeps.executors.base import LOST, caller, supervised
from memba_vision.sweeps.executors.ray_cluster import RayAttempt, RayExecutor, _reporting
from memba_vision.sweeps.loop import Policy
from memba_vision.sweeps.status import is_locked

A, B, C = (f'digits_{method}_seed0' for method in 'abc')
#: Says which share of the machine it got.
SHARE = f'import os; print("threads", os.environ["OMP_NUM_THREADS"], os.getcwd())\n{FINISH}'
FAIL = 'raise SystemExit("error: it cannot be")'


OTHERS = sorted(EXECUTORS.keys() - {'ray'})  # which takes long to start


@pytest.fixture(params=[*OTHERS, 'forks', pytest.param('ray', marks=pytest.mark.slow)])
def runner(request, tmp_path):
    is_fresh = request.param != 'forks'
    given = arguments(gpus_per_run=0, slurm_options=['timeout_min=5'], fresh_processes=is_fresh)
    executor = {**EXECUTORS, 'forks': ScriptExecutor}[request.param](given, tmp_path)
    yield executor
    executor.close()


def test_an_executor_runs_tells_how_it_ended_and_lets_runs_save(runner, tmp_path):
    jobs = [script_job(tmp_path, A, SHARE), script_job(tmp_path, B, FAIL)]
    rows, said = sweep_with(runner, jobs)
    assert [row.status.state for row in rows.values()] == ['finished', 'failed']
    assert f'{B} failed: it cannot be' in said
    assert 'threads 1' in (jobs[0].folder / 'log.txt').read_text()

    job = script_job(tmp_path, C, WAIT_ONCE)
    attempt = runner.start(job)
    wait_for(job.folder / 'second')
    assert attempt.poll() is None
    attempt.stop()
    deadline = time.monotonic() + 60
    while attempt.poll() is None or is_locked(job.folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (job.folder / 'saved').exists()
    assert status(job.folder)['state'] == 'stopped'


@pytest.mark.parametrize(('executor', 'package'), [('ray', 'ray'), ('slurm', 'submitit')])
def test_a_missing_package_is_named(tmp_path, monkeypatch, executor, package):
    for name in [name for name in sys.modules if name.split('.')[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'memba_vision\[clus"):
        EXECUTORS[executor](arguments(), tmp_path)


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['--executor', 'slurm'], '--executor slurm: '),
        (['--executor', 'slurm', '--slurm-cluster', 'local', '--slurm-options', 'x'], 'KEY=VALUE'),
        ([DEMO, '--suite', 'demo'], 'give either --suite or configs'),
    ],
)
def test_a_cluster_that_cannot_be_used(tmp_path, monkeypatch, options, expected):
    monkeypatch.setenv('PATH', str(tmp_path))  # Slurm's commands may be on this machine
    config = [] if DEMO in options else [DEMO]
    outcome = run_tool('sweep', *config, '--work-dir', tmp_path, *options)
    assert expected in outcome.error()


@pytest.mark.parametrize('count', ['0', '-1'])
def test_a_limit_lets_jobs_be_queued(count):
    outcome = run_tool('sweep', DEMO, '--executor', 'slurm', '--max-queued', count)
    assert (outcome.status, f'expected 1 or more, found {count}' in outcome.err) == (2, True)


@pytest.mark.slow
def test_ray_is_not_asked_for_what_no_node_has(tmp_path):
    with pytest.raises(UserError, match=r'1 cores and 99 GPUs, and no node has that .*--gpus-per'):
        EXECUTORS['ray'](arguments(gpus_per_run=99), tmp_path)


@pytest.mark.parametrize(
    ('error', 'expected'),
    [
        (
            ray.exceptions.AuthenticationError('no token was found'),
            'set RAY_AUTH_MODE=token, and R',
        ),
        (
            RuntimeError('Unauthenticated: InvalidAuthToken: it is missing'),
            'or copy its ~/.ray/auth',
        ),
        (
            ConnectionError('could not find any running'),
            'no cluster answers .*asks for a token, set RAY_AUTH_M',
        ),
        (ValueError('a\nb'), 'a b$'),
        (Exception('The current node timed out'), 'The current node timed out$'),
    ],
)
def test_a_ray_cluster_that_cannot_be_joined(tmp_path, monkeypatch, error, expected):
    def fail(**_):
        raise error

    monkeypatch.setattr(ray, 'init', fail)
    with pytest.raises(UserError, match=f'^--ray-address auto: .*{expected}'):
        EXECUTORS['ray'](arguments(ray_address='auto'), tmp_path)


def test_a_ray_task_tells_where_it_runs_and_what_kept_it_from_beginning(tmp_path, monkeypatch):
    """``ray`` stands for the package, of which a task that has ended needs little."""
    in_a_task = SimpleNamespace(get_node_id=lambda: 'n1')
    monkeypatch.setattr(ray, 'get_runtime_context', lambda: in_a_task)
    never_began = Counter()
    job = script_job(tmp_path, A, UNTIL_TOLD)
    ended = []
    stand_in = SimpleNamespace(
        wait=lambda tasks, timeout: (ended, tasks),
        get=lambda task: task(),
        exceptions=ray.exceptions,
    )
    broken = _reporting(caller([sys.executable, '-I', str(tmp_path / 'none.py')]))
    attempt = RayAttempt(stand_in, broken, job.folder, never_began)
    assert (attempt.poll(), attempt.place()) == (None, None), 'it waits in the queue'
    ended.append(broken)
    found = attempt.poll()
    assert found.status == 2
    assert 'before the run began: ' in found.message
    assert "can't open file" in found.message
    no_python = _reporting(caller([str(tmp_path / 'none'), 'script.py']))
    found = RayAttempt(stand_in, no_python, job.folder, never_began).poll()
    assert 'before the run began: ' in found.message
    assert never_began == {'n1': 2}

    attempt = RayAttempt(stand_in, None, job.folder, never_began)
    ended.clear()
    thread = in_background(_reporting(caller(supervised(job, {}))))
    wait_for(job.folder / 'begun')
    assert attempt.place() == status(job.folder)['host']
    (job.folder / 'go').touch()
    thread.join()


def test_ray_avoids_nodes_on_which_runs_ended_before_they_began():
    names = {'n1': 'a', 'n2': 'b', 'n3': 'c'}
    nodes = [
        {
            **dict(NodeID=node, NodeManagerHostname=host, Alive=True),
            **dict(Resources={'CPU': 0 if node == 'n3' else 4}, Labels={'ray.io/node-id': node}),
        }
        for node, host in names.items()
    ]
    runner = object.__new__(RayExecutor)  # without a cluster, which tests/clusters has
    runner.ray = SimpleNamespace(nodes=lambda: nodes)
    runner.cpus, runner.gpus, runner.never_began = 2, 0, Counter(n1=1)
    assert runner._strategy() == 'DEFAULT'
    runner.never_began.update(n1=1)
    (wanted,) = runner._strategy().hard
    assert (wanted.key, wanted.operator.values) == ('ray.io/node-id', ['n1'])
    runner.never_began.update(n2=2)
    with pytest.raises(UserError, match=r'on every node that can take .* \(a, b\) 2 ended before'):
        runner._strategy()


# Slurm's own commands, as submitit calls them


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', pretended_slurm.install(tmp_path))
    given = dict(slurm_cluster='slurm', cpus_per_run=3, gpus_per_run=0)
    options = ['partition=gpu', 'timeout_min=7', 'mem_gb=3']

    def make(python: str | None = None, **more: object):
        executor = EXECUTORS['slurm'](arguments(**given, slurm_options=options, **more), tmp_path)
        executor.executor._executor.python = python or executor.executor._executor.python
        return executor

    return make


def test_what_slurm_is_asked_for(slurm, tmp_path):
    job = script_job(tmp_path, A, SHARE)
    rows, _ = sweep_with(slurm(), [job])
    assert rows[A].status.state == 'finished'
    assert 'threads 3' in (job.folder / 'log.txt').read_text()
    asked = (tmp_path / 'submitted.txt').read_text().replace(' ', '')
    for line in (f'job-name={A}', 'partition=gpu', 'time=7', 'mem=3GB', 'cpus-per-task=3'):
        assert f'#SBATCH--{line}\n' in asked


def test_jobs_outlive_the_sweep_and_are_found_again(slurm, tmp_path):
    job = script_job(tmp_path, A, UNTIL_TOLD)
    slurm().start(job)  # by a sweep that is killed
    wait_for(job.folder / 'begun')
    (tmp_path / 'answered').unlink(missing_ok=True)

    def go() -> None:
        wait_for(tmp_path / 'answered')
        (job.folder / 'go').touch()

    thread = in_background(go)
    rows, said = sweep_with(slurm(), [job])
    thread.join()
    assert rows[A].status.state == 'finished'
    assert f'{A} is still with the executor: waiting for it' in said
    assert status(job.folder)['tries'] == 1
    deadline = time.monotonic() + 60
    while slurm().adopt([job]):  # the folder told of the end before the job had ended
        assert time.monotonic() < deadline
        time.sleep(0.1)


def wait_until_free(job):
    deadline = time.monotonic() + 60
    while is_locked(job.folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def end_of(attempt):
    deadline = time.monotonic() + 60
    while (ended := attempt.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return ended


def test_a_cancelled_job_saves(slurm, tmp_path):
    job = script_job(tmp_path, A, WAIT_ONCE)
    attempt = slurm().start(job)
    wait_for(job.folder / 'second')
    attempt.stop()
    wait_until_free(job)
    assert (job.folder / 'saved').exists()
    assert status(job.folder)['state'] == 'stopped'
    assert not end_of(attempt).is_cancelled, 'it was this sweep that did'


@pytest.mark.parametrize('is_stopped', [False, True])
def test_an_end_that_the_folder_tells_is_not_waited_for(slurm, tmp_path, monkeypatch, is_stopped):
    monkeypatch.setattr('memba_vision.sweeps.slurm_queue.PAUSE', 1e9)  # until the next look
    monkeypatch.setattr('memba_vision.sweeps.slurm_queue.PAUSE_HURRIED', 0.0)
    job = script_job(tmp_path, A, UNTIL_TOLD)
    attempt = slurm().start(job)
    wait_for(job.folder / 'begun')
    assert attempt.poll() is None
    attempt.stop() if is_stopped else (job.folder / 'go').touch()
    wait_until_free(job)
    ended = end_of(attempt)
    assert ended.status == (ExitStatus.TERMINATED if is_stopped else ExitStatus.FINISHED)
    assert not ended.is_cancelled


def in_background(call, *arguments):
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    return thread


def test_a_job_that_a_user_cancels_is_not_begun_again(slurm, tmp_path):
    job = script_job(tmp_path, A, WAIT_ONCE)

    def scancel() -> None:
        wait_for(job.folder / 'second')
        subprocess.run(['scancel', (job.folder / 'slurm_job').read_text()], check=True)

    thread = in_background(scancel)
    rows, said = sweep_with(slurm(), [job])
    thread.join()
    assert (job.folder / 'saved').exists()
    assert rows[A].status.state == 'stopped'
    assert f'{A} stopped: was cancelled (scancel)' in said
    assert status(job.folder)['tries'] == 1
    rows, _ = sweep_with(slurm(), [job])  # the same command again is meant
    assert rows[A].status.state == 'finished'


#: Each try saves one more of three epochs, is then told that its time is up, and ends as it is
#: told. The last finishes.
SLOW = f"""
import pathlib, signal, sys, time
def save(number, _):
    number = len(list(pathlib.Path('.').glob('*.pth'))) + 1
    pathlib.Path(f'epoch_{{number}}.pth').touch()
    sys.exit(143)
for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, save)
if len(list(pathlib.Path('.').glob('*.pth'))) < 3:
    pathlib.Path('begun').touch()
    time.sleep(60)
{FINISH}
"""


@pytest.mark.parametrize('lost', [False, True])
def test_a_time_limit_costs_no_retry_where_more_is_saved(slurm, tmp_path, lost):
    """Where nothing is saved, the retries come to an end."""
    code = SLOW.replace('touch()\n    sys.exit', 'unlink()\n    sys.exit') if lost else SLOW
    job = script_job(tmp_path, A, code)

    def warn() -> None:
        for _ in range(1 if lost else 3):
            wait_for(job.folder / 'begun')
            (job.folder / 'begun').unlink()
            number = (job.folder / 'slurm_job').read_text()
            pretended_slurm.warn_of_the_time_limit(tmp_path, number)

    thread = in_background(warn)
    rows, said = sweep_with(slurm(), [job], Policy(retries=0))
    thread.join()
    reason = 'was stopped at its time limit (SIGUSR2)'
    if lost:
        assert rows[A].status.state == 'stopped'
        assert f'{A} stopped: {reason}' in said
    else:
        assert rows[A].status.state == 'finished'
        assert said.count(f'{A} {reason}; going on from its last checkpoint') == 3


@pytest.mark.parametrize(
    ('state', 'message'),
    [('TIMEOUT', 'reached its time limit'), ('NODE_FAIL', 'its node failed'), ('PREEMPTED', 'was')],
)
def test_a_job_that_slurm_ended_is_begun_again(slurm, tmp_path, monkeypatch, state, message):
    monkeypatch.setattr(slurm_queue, 'PAUSE', 0.1)
    monkeypatch.setattr(slurm_executor, 'RESULT_DELAY', 0.0)
    job = script_job(tmp_path, A, FINISH)
    (tmp_path / 'full').touch()

    def end() -> None:
        wait_for(job.folder / 'slurm_job')
        (tmp_path / 'full').unlink()
        path = tmp_path / 'jobs' / (job.folder / 'slurm_job').read_text()
        path.write_text(json.dumps({'pid': 0, 'state': state}))

    thread = in_background(end)
    rows, said = sweep_with(slurm(), [job])
    thread.join()
    assert rows[A].status.state == 'finished'
    assert f'{A} submitted' in said, 'it waited for a node'
    assert f'{A} {message}' in said


def test_a_job_that_slurm_has_forgotten_is_not_waited_for(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm_queue, 'PAUSE', 0.0)
    monkeypatch.setattr(slurm_executor, 'RESULT_DELAY', 0.0)
    job = script_job(tmp_path, A, UNTIL_TOLD)
    attempt = slurm().start(job)
    wait_for(job.folder / 'begun')
    (tmp_path / 'down').touch()
    assert attempt.poll() is None, 'Slurm does not answer'
    assert slurm().adopt([job])
    (tmp_path / 'down').unlink()
    (tmp_path / 'jobs' / attempt.number).unlink()
    assert not slurm().adopt([job])
    attempt.poll()
    assert attempt.poll().status == LOST
    (job.folder / 'go').touch()


def test_slurm_is_asked_once_for_all_jobs(slurm, tmp_path):
    jobs = [script_job(tmp_path, name, UNTIL_TOLD) for name in (A, B, C)]
    runner = slurm()
    attempts = [runner.start(job) for job in jobs]
    for job in jobs:
        wait_for(job.folder / 'begun')
    calls = tmp_path / 'calls.txt'
    calls.unlink()
    assert [attempt.poll() for attempt in attempts] == [None] * 3
    assert len(slurm().adopt(jobs)) == 3
    runner.stop(attempts)
    for job in jobs:
        wait_until_free(job)
    commands = [line.split()[0] for line in calls.read_text().splitlines()]
    assert sorted(commands) == ['scancel', 'squeue', 'squeue']


def test_many_runs_are_one_job_array(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm_executor, 'ARRAY', 3)
    jobs = [script_job(tmp_path, name) for name in (A, B, C)]
    rows, _ = sweep_with(slurm(), jobs)
    assert [row.status.state for row in rows.values()] == ['finished'] * 3
    assert (tmp_path / 'calls.txt').read_text().count('sbatch ') == 1
    assert '--array=0-2%3' in (tmp_path / 'submitted.txt').read_text()
    assert (jobs[2].folder / 'slurm_job').read_text().endswith('_2')


def test_no_more_jobs_are_queued_than_asked_for(slurm, tmp_path):
    jobs = [script_job(tmp_path, name) for name in (A, B, C)]
    runner = slurm(max_queued=2)
    attempts = runner.start_all(jobs[: runner.room()])
    assert len(attempts) == 2
    assert runner.room() == 0
    end_of(attempts[0])
    assert runner.room() == 1
    end_of(attempts[1])


def test_a_host_on_which_jobs_end_before_their_runs_is_named_and_avoided(
    slurm, tmp_path, monkeypatch
):
    monkeypatch.setattr(slurm_queue, 'PAUSE', 0.1)
    monkeypatch.setattr(slurm_executor, 'RESULT_DELAY', 0.0)
    monkeypatch.setattr(loop, 'PAUSE_RETRY', 0.1)
    (tmp_path / 'bin' / 'python').write_text('#!/bin/sh\necho no such module >&2; exit 1\n')
    (tmp_path / 'bin' / 'python').chmod(0o755)
    runner = slurm(python=str(tmp_path / 'bin' / 'python'))
    rows, said = sweep_with(runner, [script_job(tmp_path, A)])
    assert rows[A].status.state == 'stopped'
    assert 'on here before the run began: no such module' in said
    asked = (tmp_path / 'submitted.txt').read_text()
    assert asked.count('#SBATCH --exclude=here') == 1, 'from the third try on'


def test_what_fails_again_and_again_waits_a_little(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, 'PAUSE_RETRY', 0.5)
    began = time.monotonic()
    job = script_job(tmp_path, A, 'import os; os.kill(os.getpid(), 9)')
    runner = ScriptExecutor(arguments(fresh_processes=True), tmp_path)
    sweep_with(runner, [job], Policy(retries=3))
    assert status(job.folder)['tries'] == 4
    assert time.monotonic() - began > 0.5 + 1.0


def test_an_empty_note_is_no_job(slurm, tmp_path):
    job = script_job(tmp_path, A)
    (job.folder / 'slurm_job').touch()
    assert not slurm().adopt([job])


def test_slurm_refuses(slurm, tmp_path):
    (tmp_path / 'bin' / 'sbatch').write_text('#!/bin/sh\necho invalid partition >&2; exit 1\n')
    with pytest.raises(UserError, match=f'Slurm does not take {A}: .*invalid partition'):
        slurm().start(script_job(tmp_path, A))


def test_an_option_of_slurm_is_a_number_only_where_slurm_has_one():
    found = slurm_executor._options(
        ['account=00123', 'mem_gb=32', 'array_parallelism=4', 'comment=7']
    )
    assert found == {
        'slurm_account': '00123',
        'mem_gb': 32,
        'slurm_array_parallelism': 4,
        'slurm_comment': '7',
    }
