"""What a sweep shows, in a terminal and elsewhere."""

import re
import time
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console as Terminal
from script_jobs import script_job

from memba_vision.sweeps.console import (
    OTHER_LINES,
    EventLines,
    LiveTable,
    Row,
    duration,
    open_console,
    seconds_left,
    summary,
    table,
)
from memba_vision.sweeps.progress import Progress
from memba_vision.sweeps.status import Status
from memba_vision.sweeps.summary import fitting_table


@pytest.fixture
def rows(tmp_path):
    def row(seed: int, status: Status, progress: Progress | None = None) -> Row:
        return Row(script_job(tmp_path, f'digits_memba_seed{seed}'), status, progress or Progress())

    return [
        row(0, Status('finished', tries=1, seconds=80.0, score='96.86 %'), Progress(3, 0.21)),
        row(1, Status('running', tries=2), Progress(1, 1.5, 41.0, 61.0)),
        row(2, Status('running', tries=1)),
        row(3, Status('failed', 'no such thing', 1)),
        row(4, Status('waiting')),
    ]


def drawn(rows, height: int) -> str:
    terminal = Terminal(file=StringIO(), width=100)
    terminal.print(table(rows, height))
    return terminal.file.getvalue()


def test_the_table_has_all_of_a_run(rows):
    lines = drawn(rows, height=10).splitlines()
    cells = [' '.join(line.split()) for line in lines]
    assert 'run state epoch loss accuracy time left' in cells
    assert 'digits_memba_seed0 finished 3/3 0.210 96.86 % took 80 s' in cells
    assert 'digits_memba_seed1 running, try 2 1/3 1.500 41.00 % 61 s' in cells
    assert 'digits_memba_seed2 running 0/3 starting' in cells
    assert 'digits_memba_seed3 failed: no such thing' in cells
    assert 'digits_memba_seed4 waiting' in cells


def test_a_small_terminal_shows_what_is_urgent(rows):
    text = drawn(rows, height=4)
    for seed, shown in enumerate([False, True, True, True, False]):
        assert (f'seed{seed} ' in text) == shown
    assert '… and 1 waiting, 1 finished' in text


def test_3800_runs_in_80_x_24(tmp_path):
    """Those that run come first, then a few failures with their reason, then what ended last."""
    job = script_job(tmp_path, 'clevr-count_memba_seed0')
    states = ['finished'] * 60 + ['failed'] * 20 + ['running'] * 5 + ['waiting'] * 3715
    rows = [
        Row(
            replace(job, name=f'clevr-count_memba_seed{number}'),
            Status(state, 'CUDA out of memory' if state == 'failed' else '', ended=float(number)),
            Progress(1, 0.5, 41.0, 61.0) if state == 'running' else Progress(),
        )
        for number, state in enumerate(states)
    ]
    terminal = Terminal(file=StringIO(), width=80, height=24)
    began = time.process_time()
    terminal.print(table(rows, 24 - OTHER_LINES, 80))
    terminal.print(summary(rows))
    assert time.process_time() - began < 1.0
    lines = terminal.file.getvalue().splitlines()
    assert len(lines) <= 24
    assert not any('…' in line for line in lines if '… and' not in line), 'nothing is cut'
    assert 'loss' not in lines[1], 'a column goes whole'
    shown = [int(re.search(r'seed(\d+)', line)[1]) for line in lines if 'seed' in line]
    assert shown[:5] == [80, 81, 82, 83, 84]
    assert shown[5:8] == [79, 78, 77]
    assert shown[8:] == [59, 58, 57, 56, 55, 54, 53, 52]
    assert sum('failed: CUDA out of memory' in line for line in lines) == 3
    assert any('… and 3715 waiting, 52 finished, 17 failed' in line for line in lines)


def test_a_table_that_is_wider_than_the_terminal_is_a_file(tmp_path, rows, monkeypatch):
    monkeypatch.setattr('memba_vision.sweeps.summary.results_table', lambda *_: f'{"|" * 90}\n')
    assert fitting_table(tmp_path, rows, 90) == f'{"|" * 90}\n'
    assert str(tmp_path / 'results.md') in fitting_table(tmp_path, rows, 89)
    assert (tmp_path / 'results.md').read_text() == f'{"|" * 90}\n'


def test_the_summary_says_how_long_it_takes(rows):
    # A run still waits and takes 80 s like the one before; two run, with 61 s left for one.
    assert seconds_left(rows) == pytest.approx((80 + 61) / 2)
    expected = '5 runs: 1 waiting, 2 running, 1 finished, 1 failed; about 70 s left'
    assert summary(rows) == expected
    assert seconds_left(rows[3:]) is None


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(0, '0 s'), (98.6, '99 s'), (100, '2 min'), (89 * 60, '89 min'), (5430, '1 h 30 min')],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_days():
    assert duration(50 * 3600) == '2 d 2 h'


def test_without_a_terminal_there_is_a_line_per_event(rows):
    console = open_console(Terminal(file=StringIO(), width=40))
    assert isinstance(console, EventLines)
    console.begin(rows)
    console.event(rows[4], 'started')
    console.event(rows[1], 'started')
    console.show(rows)
    console.event(rows[0], 'finished')
    console.event(rows[3], 'failed: [no] such thing, and a long explanation of what is missing')
    lines = console.terminal.file.getvalue().splitlines()
    assert [line.split(' ', 1)[1] for line in lines] == [
        summary(rows),
        'digits_memba_seed4 started',
        'digits_memba_seed1 started again (try 3)',
        'digits_memba_seed0 finished: 96.86 % in 80 s (1 of 5)',
        'digits_memba_seed3 failed: [no] such thing, and a long explanation of what is missing',
    ]


def test_a_terminal_has_a_live_table(rows):
    terminal = Terminal(file=StringIO(), force_terminal=True, width=100, height=30)
    console = open_console(terminal)
    assert isinstance(console, LiveTable)
    console.begin(rows)
    console.event(rows[3], 'failed: no such thing')
    console.event(rows[4], 'started')
    console.show(rows)
    console.close()
    text = terminal.file.getvalue()
    assert 'digits_memba_seed3 failed: no such thing' in text
    assert 'digits_memba_seed4 started' not in text
    assert text.endswith('about 70 s left\n\x1b[?25h')
