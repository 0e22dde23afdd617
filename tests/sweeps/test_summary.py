"""How a sweep ends: what is missing, and why."""

import os

from script_jobs import script_job

from memba_vision.sweeps import summary
from memba_vision.sweeps.console import Row
from memba_vision.sweeps.status import Status
from memba_vision.sweeps.summary import describe_unfinished, fitting_table, results_table

A, B, C = (f'digits_{method}_seed0' for method in 'abc')


def test_nothing_is_missing(tmp_path):
    rows = [Row(script_job(tmp_path, A), Status('finished', score='50.00 %'))]
    assert describe_unfinished(rows) == ''


def test_no_results_make_no_table(tmp_path):
    assert results_table(tmp_path, [Row(script_job(tmp_path, A), Status('failed'))]) == ''


def test_failures_are_told_with_the_end_of_their_logs(tmp_path):
    jobs = [script_job(tmp_path, name) for name in (A, B, C)]
    log = jobs[0].folder / 'log.txt'
    log.write_text(''.join(f'line {number}\n\n' for number in range(3000)))
    states = [Status('failed', 'line 2999'), Status('failed'), Status('stopped', 'was killed')]
    rows = [Row(*pair) for pair in zip(jobs, states, strict=True)]
    assert describe_unfinished(rows).split('\n\n') == [
        '\n'.join([f'{A} failed ({log}):', *(f'    line {n}' for n in range(2995, 3000))]),
        f'{B} failed ({jobs[1].folder / "log.txt"}):',
        '2 runs failed: mend the cause, then give the same command with --retry-failed',
        f'{C}: was killed\n1 run not finished: the same command goes on',
    ]


def test_a_wide_table_with_a_name_that_is_no_utf_8(tmp_path, monkeypatch):
    name = b'| m\xe9thode |\n'
    monkeypatch.setattr(summary, 'results_table', lambda *_: os.fsdecode(name))
    assert 'results.md' in fitting_table(tmp_path, [], 5)
    assert (tmp_path / 'results.md').read_bytes() == name
