"""The list of single runs, written and read back."""

import csv
from dataclasses import replace

from made_runs import make_result

from memba_vision.reports.run_list import COLUMNS, read_run_list, write_run_list


def test_a_list_of_runs_is_read_as_it_was_written():
    runs = [
        make_result(seed=0, top1=98.745, training_seconds=101.5, peak_memory_mib=1170.25),
        make_result(seed=1, top1=90.0),  # its time and memory are not known
        make_result('scratch', 'sprites, "the large"', seed=None, top1=0.0),
    ]
    text = write_run_list(reversed(runs))
    assert read_run_list(text) == [replace(run, config='', checkpoint='') for run in runs]


def test_the_list_holds_no_path():
    run = make_result(config='/data/digits_memba.py', checkpoint='/data/epoch_20.pth')
    text = write_run_list([run])
    assert '/' not in text
    (row,) = csv.DictReader(text.splitlines())
    assert list(row) == list(COLUMNS)
    assert row['top1'] == '90'
    assert row['training_seconds'] == ''
