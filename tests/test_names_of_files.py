"""Names that are no UTF-8, and signs with a meaning elsewhere, through the tools that train."""

import os
import shutil
from pathlib import Path

import pytest
from helpers import run_tool, tiny_options

from memba_vision.files import encode_surrogates, escape_surrogates
from memba_vision.search.study import open_study

ODD = os.fsdecode(b'a\xff ?%20#{b}')


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / ODD
    path.mkdir()
    return path


def test_training_testing_and_reporting(folder, base, data_root, capfd):
    data = Path(shutil.copytree(data_root, folder / 'data'))
    config = folder / os.fsdecode(b'c\xfe.py')
    config.write_text("_base_ = 'memba_vision::demo/digits_memba.py'\n")
    options = [f'{key}={value}' for key, value in tiny_options(base, data).items()]
    arguments = [config, '--work-dir', folder / 'run', '--cfg-options', *options]
    assert run_tool('train', *arguments).status == 0
    for table in ('table.md', 'table.csv', 'table.json'):
        assert run_tool('test', '--out', folder / table, *arguments).status == 0
    assert b'c\xfe' in (folder / 'table.md').read_bytes()
    last = (folder / 'run' / 'last_checkpoint').read_bytes()
    assert last == os.fsencode(folder / 'run' / 'epoch_2.pth')
    assert run_tool('report', folder / 'run', '--out', folder / 'report').status == 0
    assert b'c\xfe' in (folder / 'report' / 'runs.csv').read_bytes()
    logs = b''.join(path.read_bytes() for path in (folder / 'run').rglob('*.log'))
    assert b'epoch_2.pth' in logs or os.fsencode(folder) in logs
    assert 'Traceback' not in capfd.readouterr().err


@pytest.mark.slow
def test_sweeping_and_searching(folder, base, data_root):
    data = Path(shutil.copytree(data_root, folder / 'data'))
    config = folder / os.fsdecode(b'c\xfe.py')
    config.write_text("_base_ = 'memba_vision::demo/digits_memba.py'\n")
    space = folder / 'space.py'
    space.write_text("settings = {'model.backbone.leak': [0.5, 0.9]}")
    options = [f'{key}={value}' for key, value in tiny_options(base, data).items()]
    swept = run_tool('sweep', config, '--work-dir', folder / 'sweep', '--cfg-options', *options)
    assert swept.status == 0, swept
    found = ['--config', config, '--work-dir', folder / 'search', '--trials', 1]
    searched = run_tool('search', space, *found, '--cfg-options', *options)
    assert searched.status == 0, searched
    assert (folder / 'search' / 'search.db').is_file()
    # The best config is one that can be read.
    best = run_tool('train', folder / 'search' / 'best.py', '--work-dir', folder / 'best')
    assert best.status == 0, best


def test_a_search_finds_its_database_again(folder):
    """Under any name, and as one that earlier versions made under an ordinary one."""
    pytest.importorskip('optuna')
    first = open_study(folder / 'search.db', f'name {ODD}', 'none', 3)
    first.enqueue_trial({'x': 1})
    assert [path.name for path in folder.parent.iterdir()] == [ODD]
    assert [path.name for path in folder.iterdir()] == ['search.db']
    again = open_study(folder / 'search.db', f'name {ODD}', 'none', 3)
    assert len(again.trials) == 1
    plain = folder.parent / 'plain.db'
    open_study(f'sqlite:///{plain}', 'name', 'none', 3).enqueue_trial({'x': 1})
    assert len(open_study(plain, 'name', 'none', 3).trials) == 1


def test_text_for_files_and_for_pictures():
    assert encode_surrogates('ä' + ODD) == 'ä'.encode() + os.fsencode(ODD)
    assert escape_surrogates(ODD) == r'a\udcff ?%20#{b}'
