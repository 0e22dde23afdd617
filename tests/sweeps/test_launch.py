"""Several processes that train one run: their launcher ends as the one does that failed."""

import subprocess

import pytest
from script_jobs import SAVE, script_job, status, wait_for
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from memba_vision.errors import END_SIGNALS, ExitStatus
from memba_vision.sweeps.executors.base import supervised
from memba_vision.sweeps.launch import end_like

#: The first of two processes waits for the other, which fails.
RANKS = """
import os, sys, time
def main(_):
    time.sleep(60 * (os.environ['RANK'] == '0'))
    {failure}
from memba_vision.command_line import run_tool
run_tool(lambda: None, main)
"""
LAUNCH = """
import sys
from memba_vision.sweeps.launch import main
sys.argv[1:] = ['--standalone', '--nproc_per_node', '2', 'ranks.py']
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ('failure', 'ended', 'message'),
    [
        ('os.kill(os.getpid(), 9)', ExitStatus.TERMINATED, 'was killed (SIGKILL'),
        ('1 / 0', ExitStatus.FAILED, 'ZeroDivisionError: division by zero'),
    ],
    ids=['killed', 'crashed'],
)
def test_the_end_of_one_of_two_processes_is_that_of_the_run(tmp_path, failure, ended, message):
    job = script_job(tmp_path, code=LAUNCH)
    (job.folder / 'ranks.py').write_text(RANKS.format(failure=failure))
    assert subprocess.run(supervised(job, {})).returncode == ended
    assert status(job.folder)['message'].startswith(message)


#: Both save when they are told to, and the launcher waits for them.
SAVING = f"""
import os
os.makedirs(os.environ['RANK'], exist_ok=True)
os.chdir(os.environ['RANK'])
{SAVE}
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'reason'), END_SIGNALS.items())
def test_a_signal_lets_all_processes_save(tmp_path, number, reason):
    job = script_job(tmp_path, code=LAUNCH)
    (job.folder / 'ranks.py').write_text(SAVING)
    process = subprocess.Popen(supervised(job, {}))
    for rank in '01':
        wait_for(job.folder / rank / 'begun')
    process.send_signal(number)
    assert process.wait() == ExitStatus.TERMINATED
    assert [(job.folder / rank / 'saved').exists() for rank in '01'] == [True, True]
    assert status(job.folder)['message'] == f'was stopped {reason}'


@pytest.mark.parametrize('code', [ExitStatus.USER_ERROR, ExitStatus.DISK_FULL])
def test_a_status_is_passed_on_as_it_is(tmp_path, code, capsys):
    (tmp_path / 'error.json').write_text(
        '{"message": {"message": "", "extraInfo": {"timestamp": 1}}}'
    )
    with pytest.raises(SystemExit) as end:
        end_like(ProcessFailure(0, 1, code, str(tmp_path / 'error.json')))
    assert end.value.code == code
    assert capsys.readouterr().err == '', 'the process has told what went wrong'
