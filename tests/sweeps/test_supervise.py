"""One run under its supervisor: alone, logged, and ended with whoever started it."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from script_jobs import FINISH, SAVE, ScriptJob, script_job, status, wait_for

from memba_vision.errors import END_SIGNALS, ExitStatus
from memba_vision.sweeps.executors.base import supervised
from memba_vision.sweeps.status import is_locked, run_status


def start(job: ScriptJob, **options) -> subprocess.Popen:
    return subprocess.Popen(supervised(job, {'COLOUR': 'blue'}), **options)


def run(folder, code: str, **options) -> tuple[int, dict]:
    job = script_job(folder, code=code)
    code = start(job, **options).wait()
    return code, status(job.folder)


def wait_until_free(folder) -> None:
    deadline = time.monotonic() + 20
    while is_locked(folder):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_that_finishes(tmp_path):
    code = f'import os; print("I am", os.environ["COLOUR"])\n{FINISH}'
    ended, found = run(tmp_path, code)
    assert ended == ExitStatus.FINISHED
    assert (found['state'], found['message'], found['tries']) == ('finished', '', 1)
    log = (tmp_path / 'digits_memba_seed0/log.txt').read_text()
    assert log.startswith('--- try 1, ')
    assert log.endswith('I am blue\n')


def test_a_finished_run_is_not_run_again(tmp_path):
    run(tmp_path, FINISH)
    ended, found = run(tmp_path, 'raise SystemExit(1)')
    assert (ended, found['state'], found['tries']) == (ExitStatus.FINISHED, 'finished', 1)


def test_a_result_that_another_tool_left_is_not_the_end(tmp_path):
    run(tmp_path, f'{FINISH}\nraise SystemExit(143)')  # stopped, and then tested
    ended, found = run(tmp_path, FINISH)
    assert (ended, found['state'], found['tries']) == (ExitStatus.FINISHED, 'finished', 2)


def test_a_rule_is_no_message(tmp_path):
    _, found = run(tmp_path, 'print("it broke\\n=======\\n"); raise SystemExit(1)')
    assert (found['state'], found['message']) == ('failed', 'it broke')


@pytest.mark.parametrize(
    ('code', 'message'),
    [
        (
            'import sys; sys.exit("error: no config at x.py: give one")',
            'no config at x.py: give one',
        ),
        ('1 / 0', 'ZeroDivisionError: division by zero'),
        ('raise SystemExit(3)', 'ended with status 3 and said nothing'),
        ('print("done")', 'ended well, but wrote no result.json'),
    ],
)
def test_a_run_that_fails(tmp_path, code, message):
    ended, found = run(tmp_path, code)
    assert (ended, found['state'], found['message']) == (ExitStatus.FAILED, 'failed', message)


def test_tries_are_counted_and_logged_one_after_the_other(tmp_path):
    run(tmp_path, 'print("one"); raise SystemExit(1)')
    ended, found = run(tmp_path, f'print("two")\n{FINISH}')
    assert (ended, found['tries']) == (ExitStatus.FINISHED, 2)
    log = (tmp_path / 'digits_memba_seed0/log.txt').read_text()
    assert [line[:9] for line in log.splitlines()] == ['--- try 1', 'one', '--- try 2', 'two']


def test_a_run_that_is_killed_is_stopped_not_failed(tmp_path):
    ended, found = run(tmp_path, 'import os; os.kill(os.getpid(), 9)')
    assert (ended, found['state']) == (ExitStatus.TERMINATED, 'stopped')
    assert 'SIGKILL' in found['message']
    assert 'memory' in found['message']


@pytest.mark.parametrize(('number', 'reason'), END_SIGNALS.items())
def test_a_signal_lets_the_command_save(tmp_path, number, reason):
    job = script_job(tmp_path, code=f'{SAVE}\ntime.sleep(60)')
    process = start(job)
    wait_for(job.folder / 'begun')
    assert run_status(job.folder).state == 'running'
    process.send_signal(number)
    assert process.wait() == ExitStatus.TERMINATED
    assert (job.folder / 'saved').exists()
    found = status(job.folder)
    assert (found['state'], found['message']) == ('stopped', f'was stopped {reason}')


def test_a_run_is_not_run_twice_at_a_time(tmp_path):
    job = script_job(tmp_path, code=f'{SAVE}\ntime.sleep(60)')
    first = start(job)
    wait_for(job.folder / 'begun')
    assert start(job).wait() == ExitStatus.BUSY
    assert status(job.folder)['tries'] == 1
    first.terminate()
    first.wait()


def test_a_supervisor_that_is_killed_takes_its_command_along(tmp_path):
    job = script_job(tmp_path, code=f'{SAVE}\ntime.sleep(60)')
    process = start(job)
    wait_for(job.folder / 'begun')
    process.kill()
    process.wait()
    assert is_locked(job.folder), 'the command is still saving'
    wait_until_free(job.folder)
    assert (job.folder / 'saved').exists()
    found = run_status(job.folder)
    assert (found.state, found.message) == ('stopped', 'was killed, or its machine went down')


def test_whoever_started_it_takes_it_along(tmp_path):
    job = script_job(tmp_path, code=f'{SAVE}\ntime.sleep(60)')
    code = f'import subprocess; subprocess.Popen({supervised(job, {})!r}).wait()'
    process = subprocess.Popen([sys.executable, '-c', code])
    wait_for(job.folder / 'begun')
    process.kill()
    process.wait()
    wait_until_free(job.folder)
    assert (job.folder / 'saved').exists()
    assert status(job.folder)['state'] == 'stopped'


# No room on the disk


def test_a_run_that_finds_the_disk_full_is_stopped(tmp_path):
    code = f'print("error: free some space"); raise SystemExit({ExitStatus.DISK_FULL})'
    ended, found = run(tmp_path, code)
    assert (ended, found['state']) == (ExitStatus.DISK_FULL, 'stopped')
    assert (found['exit_status'], found['message']) == (ExitStatus.DISK_FULL, 'free some space')


def test_a_disk_too_full_to_say_so(tmp_path):
    """The limit stands in for a disk on which not even the status finds room."""
    job = script_job(tmp_path)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))

    assert start(job, preexec_fn=limit, stderr=subprocess.DEVNULL).wait() == ExitStatus.DISK_FULL
    assert not (job.folder / 'status.json').exists()
    assert start(job).wait() == ExitStatus.FINISHED


def test_a_log_that_cannot_grow_does_not_hide_the_error(tmp_path):
    code = (
        'import resource, sys; sys.stdout.write("x" * 5000 + "\\n"); sys.stdout.flush()\n'
        'sys.exit("error: no room at all")'
    )
    job = script_job(tmp_path, code=code)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    assert start(job, preexec_fn=limit).wait() == ExitStatus.FAILED
    assert status(job.folder)['message'] == 'no room at all'
    assert (job.folder / 'log.txt').stat().st_size <= 2000


def test_ctrl_c_is_the_sweeps_to_handle(tmp_path):
    job = script_job(tmp_path, code=f'{SAVE}\ntime.sleep(60)')
    process = start(job)
    wait_for(job.folder / 'begun')
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    process.terminate()
    process.wait()
