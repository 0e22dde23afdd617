"""Executors over scripts in place of trainings: this machine, Ray, and submitit's stand-in."""

import sys
import time

import pretended_slurm
import pytest
from helpers import DEMO, run_tool
from script_jobs import (
    FINISH,
    SAVE,
    WAIT_ONCE,
    ScriptExecutor,
    arguments,
    script_job,
    status,
    sweep_with,
    wait_for,
)

from memba_vision.errors import UserError
from memba_vision.sweeps.executors import EXECUTORS
from memba_vision.sweeps.executors import slurm as slurm_executor
from memba_vision.sweeps.executors.base import LOST
from memba_vision.sweeps.status import is_locked

A, B, C = (f'digits_{method}_seed0' for method in 'abc')
#: Says which share of the machine it got.
SHARE = f'import os; print("threads", os.environ["OMP_NUM_THREADS"], os.getcwd())\n{FINISH}'
UNTIL_TOLD = f'{SAVE}\nwhile not pathlib.Path("go").exists(): time.sleep(0.05)\n{FINISH}'
FAIL = 'raise SystemExit("error: it cannot be")'


@pytest.fixture(params=[*EXECUTORS, 'forks'])
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


# Slurm's own commands, as submitit calls them


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', pretended_slurm.install(tmp_path))
    given = dict(slurm_cluster='slurm', cpus_per_run=3, gpus_per_run=0)
    options = ['partition=gpu', 'timeout_min=7', 'mem_gb=3']
    return lambda: EXECUTORS['slurm'](arguments(**given, slurm_options=options), tmp_path)


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
    (job.folder / 'go').touch()
    rows, said = sweep_with(slurm(), [job])
    assert rows[A].status.state == 'finished'
    assert f'{A} is still with the executor: waiting for it' in said
    assert status(job.folder)['tries'] == 1
    assert slurm().adopt(job) is None


def test_a_cancelled_job_saves(slurm, tmp_path):
    job = script_job(tmp_path, A, WAIT_ONCE)
    attempt = slurm().start(job)
    wait_for(job.folder / 'second')
    attempt.stop()
    deadline = time.monotonic() + 60
    while is_locked(job.folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (job.folder / 'saved').exists()
    assert status(job.folder)['state'] == 'stopped'


def test_a_job_that_slurm_has_forgotten_is_not_waited_for(slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm_executor, 'DOUBT_DELAY', 0.0)
    monkeypatch.setattr(slurm_executor, 'RESULT_DELAY', 0.0)
    job = script_job(tmp_path, A, UNTIL_TOLD)
    attempt = slurm().start(job)
    wait_for(job.folder / 'begun')
    sacct = tmp_path / 'bin' / 'sacct'
    sacct.write_text('#!/bin/sh\necho "JobID|State|NodeList"\n')
    attempt.job.watcher.clear()
    assert attempt.poll() is None, 'the queue still has it'
    assert slurm().adopt(job) is not None
    (tmp_path / 'forgotten').touch()
    assert slurm().adopt(job) is None
    attempt.poll()
    assert attempt.poll().status == LOST
    (job.folder / 'go').touch()


def test_an_empty_note_is_no_job(slurm, tmp_path):
    job = script_job(tmp_path, A)
    (job.folder / 'slurm_job').touch()
    assert slurm().adopt(job) is None


def test_slurm_refuses(slurm, tmp_path):
    (tmp_path / 'bin' / 'sbatch').write_text('#!/bin/sh\necho invalid partition >&2; exit 1\n')
    with pytest.raises(UserError, match=f'Slurm does not take {A}: .*invalid partition'):
        slurm().start(script_job(tmp_path, A))
