"""Runs that are forked are what runs in fresh processes are, and outlive the server."""

import contextlib
import json
import os
import signal
import sys
import time

import pytest
from script_jobs import (
    FINISH,
    SAVE,
    UNTIL_TOLD,
    ScriptExecutor,
    arguments,
    script_job,
    status,
    sweep_with,
    wait_for,
)

from memba_vision.sweeps.devices import Slot
from memba_vision.sweeps.executors.base import supervisor_arguments
from memba_vision.sweeps.executors.local import are_forked
from memba_vision.sweeps.forks import TRAINING, ForkServer
from memba_vision.sweeps.jobs import TRAIN
from memba_vision.sweeps.status import is_locked

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='no runs are forked')

A, B, C = (f'digits_{method}_seed0' for method in 'abc')
#: What a process knows of itself, but for the numbers that differ from one to the next.
FACTS = f"""
import atexit, ctypes, json, multiprocessing, random, signal, sys, threading
import numpy
death = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(death))
facts = {{
    'argv': sys.argv,
    'orig_argv': sys.orig_argv,
    'path': sys.path,
    'main': [__name__, __file__, sys.modules['__main__'].__file__],
    'directory': os.getcwd(),
    'environment': dict(os.environ),
    'signals': [str(signal.getsignal(n)) for n in signal.Signals],
    'blocked': list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    'death of the parent': death.value,
    'streams': [
        (s.name, s.encoding, s.errors, s.line_buffering, s.seekable())
        for s in (sys.stdout, sys.stderr, sys.__stdout__)
    ],
    'input': sys.stdin.read(),
    'processes': multiprocessing.current_process().name,
    'threads': threading.active_count(),
    'session': os.getsid(0) == os.getpgid(0) == os.getppid(),
}}
json.dump(facts, open('facts.json', 'w'))
json.dump([random.random(), numpy.random.rand()], open('chance.json', 'w'))
print('out')
atexit.register(print, 'at the end')
def finish():
    print('thread')
    {FINISH}
threading.Timer(0.1, finish).start()
"""


@contextlib.contextmanager
def serving(imports: str = '', **environment: object):
    server = ForkServer(str(TRAIN), imports, environment)
    with contextlib.closing(server):
        while server.is_starting():
            time.sleep(0.02)
        yield server


@pytest.fixture(scope='module')
def server():
    with serving() as server:
        yield server


def fork(server: ForkServer, folder, name: str, code: str):
    job = script_job(folder, name, code)
    process = server.fork(supervisor_arguments(job, {'COLOUR': 'blue'}))
    assert process is not None, 'the server has ended; it says why'
    return process, job.folder


def facts_of(folder) -> dict:
    assert status(folder)['state'] == 'finished', (folder / 'log.txt').read_text()
    text = (folder / 'facts.json').read_text().replace(str(folder), 'FOLDER')
    return json.loads(text)


def test_a_fork_is_like_a_fresh_process(tmp_path):
    executor = ScriptExecutor(arguments(fresh_processes=True), tmp_path)
    sweep_with(executor, [script_job(tmp_path, A, FACTS)])
    executor = ScriptExecutor(arguments(), tmp_path)
    with contextlib.closing(executor):
        sweep_with(executor, [script_job(tmp_path, B, FACTS), script_job(tmp_path, C, FACTS)])
        assert executor.server.process is not None
    fresh, forked = facts_of(tmp_path / A), facts_of(tmp_path / B)
    assert {key for key in fresh if fresh[key] != forked[key]} == set()
    assert fresh['death of the parent'] == signal.SIGTERM
    assert fresh['session']
    logs = [(tmp_path / name / 'log.txt').read_text().splitlines()[1:] for name in (A, B)]
    assert logs == [['out', 'thread', 'at the end']] * 2
    chance = [json.loads((tmp_path / name / 'chance.json').read_text()) for name in (A, B, C)]
    assert len({value for pair in chance for value in pair}) == 6, 'none is the same by chance'


@pytest.mark.parametrize(
    ('code', 'state', 'message'),
    [
        ('import ctypes; ctypes.string_at(0)', 'stopped', 'was killed (SIGSEGV)'),
        ('os._exit(7)', 'failed', 'ended with status 7 and said nothing'),
        ('raise SystemExit("error: no")', 'failed', 'no'),
        ('1 / 0', 'failed', 'ZeroDivisionError: division by zero'),
        ('raise SystemExit(None)', 'failed', 'ended well, but wrote no result.json'),
    ],
)
def test_a_crash_takes_one_run(server, tmp_path, code, state, message):
    other, other_folder = fork(server, tmp_path, A, UNTIL_TOLD)
    wait_for(other_folder / 'begun')
    crashed, folder = fork(server, tmp_path, B, code)
    crashed.wait()
    assert (status(folder)['state'], status(folder)['message']) == (state, message)
    (other_folder / 'go').touch()
    assert other.wait() == 0
    assert fork(server, tmp_path, C, FINISH)[0].wait() == 0


def test_runs_outlive_the_server_and_later_ones_start_anew(tmp_path):
    executor = ScriptExecutor(arguments(), tmp_path)
    while not executor.has_room():
        time.sleep(0.02)
    job = script_job(tmp_path, A, UNTIL_TOLD)
    attempt = executor.start(job)
    wait_for(job.folder / 'begun')
    os.kill(executor.server.process.pid, signal.SIGKILL)
    rows, _ = sweep_with(executor, [script_job(tmp_path, B)])
    assert rows[B].status.state == 'finished'
    assert executor.server.process is None
    assert attempt.poll() is None
    (job.folder / 'go').touch()
    while attempt.poll() is None:
        time.sleep(0.02)
    assert status(job.folder)['state'] == 'finished'


def test_a_supervisor_that_is_killed_takes_its_run_along(server, tmp_path):
    process, folder = fork(server, tmp_path, A, f'{SAVE}\ntime.sleep(60)')
    wait_for(folder / 'begun')
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert is_locked(folder), 'the run is still saving'
    wait_for(folder / 'saved')


def test_the_server_ends_with_the_sweep():
    with serving() as server:
        server.answers.close()
        server.connection.close()  # as the system does when the sweep is killed
        assert server.process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ('imports', 'reason'),
    [
        (
            'import threading as t, time\n'
            't.Thread(target=time.sleep, args=[60], daemon=True).start()',
            'an import has started threads (python',
        ),
        ('import no_such_module', "ModuleNotFoundError: No module named 'no_such_module'"),
        # CUDA has begun: torch, of which there is no such build here, knows that in a fork.
        (
            "import sys, types; torch = sys.modules['torch'] = types.ModuleType('torch')\n"
            'torch.cuda = types.SimpleNamespace(_is_in_bad_fork=lambda: True)',
            'CUDA has begun',
        ),
    ],
    ids=['thread', 'error', 'cuda'],
)
def test_what_makes_forks_unsafe_makes_runs_start_anew(tmp_path, capfd, imports, reason):
    executor = ScriptExecutor(arguments(), tmp_path)
    executor.imports = imports
    rows, _ = sweep_with(executor, [script_job(tmp_path, A)])
    assert executor.server.process is None
    assert rows[A].status.state == 'finished'
    said = 'each run imports everything anew, which takes longer: '
    err = capfd.readouterr().err
    assert err.startswith(f'{said}{reason}'), err
    assert err.count('\n') == 1, err


def test_threads_that_end_before_a_fork_are_in_no_ones_way(tmp_path):
    multiply = 'a = numpy.random.rand(300, 300); a @ a'
    with serving('import numpy; ' + multiply, OMP_NUM_THREADS='2') as server:
        assert server.process is not None
        process, _ = fork(server, tmp_path, A, f'import numpy\n{multiply}\n{FINISH}')
        assert process.wait() == 0


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ({}, True),
        ({'fresh_processes': True}, False),
        ({'gpus_per_run': 0}, True),
        ({'gpus_per_run': 2}, False),
    ],
    ids=str,
)
def test_what_is_forked(given, expected):
    assert are_forked(arguments(**given)) is expected


def test_elsewhere_than_on_linux_runs_start_anew(monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'darwin')
    assert not are_forked(arguments())


@pytest.mark.slow
@pytest.mark.parametrize('threads', [1, 2])
def test_what_a_training_imports_leaves_a_process_fit_for_forks(tmp_path, threads):
    code = f"""
import json, torch, mmpretrain.models
from mmengine.utils import ManagerMixin
facts = [
    os.environ['COLOUR'],
    torch.get_num_threads(),
    [name for cls in ManagerMixin.__subclasses__() for name in cls._instance_dict],
    torch.rand(1).item(),
]
json.dump(facts, open('facts.json', 'w'))
{FINISH}
"""
    with serving(TRAINING, **Slot((), threads).environment()) as server:
        assert server.process is not None
        runs = [fork(server, tmp_path, name, code) for name in (A, B)]
        assert [process.wait() for process, _ in runs] == [0, 0]
    facts = [json.loads((folder / 'facts.json').read_text()) for _, folder in runs]
    first, second = (number for *_, number in facts)
    assert first != second, 'none is the same by chance'
    assert [rest for *rest, _ in facts] == [['blue', threads, []]] * 2
