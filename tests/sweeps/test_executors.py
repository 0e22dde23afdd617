"""Executors over scripts in place of trainings: this machine, Ray, and submitit's stand-in."""

import sys
import time

import pytest
from helpers import DEMO, run_tool
from script_jobs import FINISH, WAIT_ONCE, arguments, script_job, status, sweep, wait_for

from memba_vision.discovery import as_if_missing
from memba_vision.errors import UserError
from memba_vision.sweeps.executors import EXECUTORS
from memba_vision.sweeps.status import is_locked
from memba_vision.sweeps.supervise import STOPPED

A, B = (f'digits_{method}_seed0' for method in 'ab')
#: Says which share of the machine it got.
SHARE = f'import os; print("threads", os.environ["OMP_NUM_THREADS"], os.getcwd())\n{FINISH}'
FAIL = 'raise SystemExit("error: it cannot be")'


def test_there_are_three():
    assert set(EXECUTORS) == {'local', 'ray', 'slurm'}


def check_states(executor: str, folder, **given) -> str:
    jobs = [script_job(folder, A, SHARE), script_job(folder, B, FAIL)]
    rows, said = sweep(jobs, executor, **given)
    assert [row.status.state for row in rows.values()] == ['finished', 'failed']
    assert f'{B} failed: it cannot be' in said
    return (jobs[0].folder / 'log.txt').read_text()


def test_local(tmp_path):
    assert 'threads 1' in check_states('local', tmp_path)


def test_ray(tmp_path):
    assert 'threads 1' in check_states('ray', tmp_path)


def test_slurm(tmp_path):
    log = check_states('slurm', tmp_path, gpus_per_run=0, slurm_options=['timeout_min=5'])
    assert 'threads 1' in log
    assert (tmp_path / A / 'slurm_job').read_text().isdigit()


@pytest.mark.parametrize('executor', ['local', 'ray', 'slurm'])
def test_stopping_lets_a_run_save(tmp_path, executor):
    job = script_job(tmp_path, A, WAIT_ONCE)
    runner = EXECUTORS[executor](arguments(gpus_per_run=0), tmp_path)
    try:
        attempt = runner.start(job)
        wait_for(job.folder / 'second')
        assert attempt.poll() is None
        attempt.stop()
        deadline = time.monotonic() + 30
        while attempt.poll() is None or is_locked(job.folder):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        runner.close()
    assert (job.folder / 'saved').exists()
    assert status(job.folder)['state'] == 'stopped'
    if executor == 'local':
        assert attempt.poll().status == STOPPED


@pytest.mark.parametrize(('executor', 'package'), [('ray', 'ray'), ('slurm', 'submitit')])
def test_a_missing_package_is_named(tmp_path, monkeypatch, executor, package):
    for name in [name for name in sys.modules if name.split('.')[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    with as_if_missing(package), pytest.raises(UserError, match=r"pip install 'memba_vision\[clus"):
        EXECUTORS[executor](arguments(), tmp_path)


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (['--executor', 'slurm'], '--executor slurm: '),
        (['--executor', 'slurm', '--slurm-cluster', 'local', '--slurm-options', 'x'], 'KEY=VALUE'),
        ([DEMO, '--suite', 'demo'], 'give either --suite or configs'),
    ],
)
def test_a_cluster_that_cannot_be_used(tmp_path, options, expected):
    config = [] if DEMO in options else [DEMO]
    outcome = run_tool('sweep', *config, '--work-dir', tmp_path, *options)
    assert expected in outcome.error()
