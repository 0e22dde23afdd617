"""Searches whose workers share a real PostgreSQL, and what may befall them there."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from helpers import (
    CONFIGS,
    DEMO,
    EACH_EPOCH,
    as_arguments,
    config_with_hook,
    run_tool,
    tiny_options,
)
from postgresql_server import PASSWORD, PostgreSQLServer, missing
from processes import start

sys.path.append(str(Path(__file__).parents[1] / 'search'))
from search_workers import work_at_once

from memba_vision.runs.config import load_config
from memba_vision.search.search import Search
from memba_vision.search.space import read_space

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
SPACE = CONFIGS / 'search' / 'memba_small.py'
LONG = 300.0  # seconds for what takes a few on a quiet machine


@pytest.fixture(scope='module')
def server() -> Iterator[PostgreSQLServer]:
    pytest.importorskip('psycopg')
    if absent := missing():
        pytest.skip(f'needs PostgreSQL: {", ".join(absent)} not found')
    with PostgreSQLServer() as started:
        yield started


def refused(*arguments: object) -> str:
    error = run_tool('search', SPACE, '--config', DEMO, *arguments).error()
    assert PASSWORD not in error
    assert 'wrongword' not in error
    return error


def test_workers_train_the_default_once_and_stop_at_the_number(server, tmp_path):
    task = Search(
        config=load_config(str(DEMO), {}, None),
        space=read_space(SPACE),
        folder=tmp_path / 'search',
        name='at_once',
        storage=server.storage(),
        trials=6,
        epochs=4,
        tell=print,
    )
    work_at_once(task)


def test_the_trial_of_a_worker_that_is_killed_goes_on_with_another(
    server, base, data_root, tmp_path
):
    (tmp_path / 'hold').touch()
    config = config_with_hook(tmp_path / 'digits_held.py', 'HoldTrialHook')
    options = tiny_options(base, data_root, **EACH_EPOCH, **{'train_cfg.max_epochs': 3})
    given = [SPACE, '--config', config, '--trials', 2, '--work-dir', tmp_path / 'search']
    given += ['--storage', server.storage()]
    logs = [tmp_path / f'log{seed}' for seed in range(2)]

    def worker(seed: int) -> BaseProcess:
        return start(logs[seed], 'search', *given, '--seed', seed, *as_arguments(options))

    first = worker(0)
    trials = tmp_path / 'search' / 'trials'
    wait_for(trials / 'settings_000' / 'held', first)
    second = worker(1)
    wait_for(trials / 'settings_001' / 'held', second)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    (tmp_path / 'hold').unlink()
    second.join(LONG)
    said = logs[1].read_text()
    assert second.exitcode == 0, said
    assert 'settings 0: its worker was killed, it is taken up again' in said
    assert '2 of 2 trials' in said
    assert len(re.findall(r'^settings \d+ \(the config as it is\): [\d.]+ %$', said, re.M)) == 1
    first_log = (trials / 'settings_000' / 'log.txt').read_text()
    assert re.search('[Rr]esumed', first_log), 'from the checkpoint of the killed worker'
    assert sorted(path.name for path in trials.iterdir()) == ['settings_000', 'settings_001']


def test_a_server_that_stops_while_a_trial_trains(server, base, data_root, tmp_path):
    """The search does not notice if the server is back in time, and ends in a line if not."""
    config = config_with_hook(tmp_path / 'digits_shut.py', 'HoldTrialHook')
    options = as_arguments(tiny_options(base, data_root, **{'train_cfg.max_epochs': 3}))
    given = [SPACE, '--config', config, '--work-dir', tmp_path / 'search']
    given += ['--storage', server.storage(), *options]

    def search_until_held(trials: int) -> BaseProcess:
        (tmp_path / 'hold').touch()
        process = start(tmp_path / 'log', 'search', *given, '--trials', trials)
        held = tmp_path / 'search' / 'trials' / f'settings_{trials - 1:03d}' / 'held'
        wait_for(held, process)
        server.stop()
        return process

    process = search_until_held(trials=1)
    server.start()
    (tmp_path / 'hold').unlink()
    process.join(LONG)
    assert process.exitcode == 0, (tmp_path / 'log').read_text()
    process = search_until_held(trials=2)
    try:
        (tmp_path / 'hold').unlink()
        process.join(LONG)
    finally:
        server.start()
    *_, line = (tmp_path / 'log').read_text().strip().splitlines()
    assert process.exitcode == 2, line
    assert line.startswith('error: --storage cannot be used any more'), line
    assert line.endswith('once it can, the same command goes on')


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (dict(password='wrongword'), 'password authentication failed .* see that .* password are'),
        (dict(database='nowhere'), 'database "nowhere" does not exist.* and the database exists'),
    ],
)
def test_addresses_that_the_server_refuses(server, tmp_path, given, expected):
    error = refused('--storage', server.storage(**given), '--work-dir', tmp_path / 'search')
    assert re.search(f'--storage cannot be opened .*{expected}', error)


def test_no_server_and_no_driver(server, tmp_path, monkeypatch):
    away = server.storage().replace(f':{server.port}/', ':1/')
    error = refused('--storage', away, '--work-dir', tmp_path / 'search')
    assert 'see that postgresql runs at 127.0.0.1:1/postgres' in error
    monkeypatch.setitem(sys.modules, 'psycopg', None)
    error = refused('--storage', server.storage(), '--work-dir', tmp_path / 'search')
    assert "pip install 'psycopg[binary]'" in error


def wait_for(path: Path, process: BaseProcess) -> None:
    deadline = time.monotonic() + LONG
    while not path.exists():
        assert process.is_alive(), 'the search ended'
        assert time.monotonic() < deadline, f'{path} never came'
        time.sleep(0.05)
