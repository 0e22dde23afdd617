"""The list of single runs, written and read back."""

import csv
from dataclasses import replace

import pytest
from helpers import REPOSITORY
from made_runs import make_result

from memba_vision.reports.run_list import COLUMNS, read_run_list, write_run_list
from memba_vision.runs.backbone import RANDOM, Backbone


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


def test_several_backbones_and_metrics_are_read_as_they_were_written():
    paths = dict(config='', checkpoint='')
    runs = [
        make_result(backbone=Backbone('vim', 'vim_mini', '1' * 64), **paths),
        make_result(backbone=Backbone('vim', 'vim_mini', RANDOM), seed=1, **paths),
        make_result(backbone=Backbone('vmamba', 'vmamba_tiny'), seed=2, **paths),
        make_result(top1=0.25, seed=3, metric='mae', higher_is_better=False, **paths),
    ]
    assert read_run_list(write_run_list(runs)) == runs
    for single in (runs[:1], runs[2:3]):
        assert read_run_list(write_run_list(single)) == single


def test_a_list_that_a_spreadsheet_has_saved():
    runs = [make_result(top1=0.25, metric='mae', higher_is_better=is_so) for is_so in (False, True)]
    text = write_run_list(runs).replace('True', 'TRUE').replace('False', 'false')
    assert [run.higher_is_better for run in read_run_list(text)] == [False, True]
    with pytest.raises(ValueError, match="expected True or False, found 'wahr'"):
        read_run_list(text.replace('TRUE', 'wahr'))


def test_the_committed_list_is_written_as_it_is():
    path = REPOSITORY / 'docs' / 'results' / 'mini_vtab.csv'
    if path.is_file():
        runs = read_run_list(path.read_text())
        assert {run.backbone for run in runs} == {Backbone()}
        header, *lines = path.read_text().splitlines()
        assert write_run_list(runs).splitlines() == [header, *sorted(lines)]
