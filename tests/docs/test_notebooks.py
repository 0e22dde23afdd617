"""The notebooks run from top to bottom, and were saved as they ran."""

import json

import pytest
from helpers import REPOSITORY, make_task

NOTEBOOKS = sorted((REPOSITORY / 'docs' / 'notebooks').glob('*.ipynb'))
SECONDS = 600


def read(path):
    return json.loads(path.read_text(encoding='utf-8'))


def code_cells(path):
    return [cell for cell in read(path)['cells'] if cell['cell_type'] == 'code']


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ['adapt_and_explain', 'compare_methods']


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_run_in_one_go_and_names_no_machine(path):
    cells = code_cells(path)
    assert [cell['execution_count'] for cell in cells] == [*range(1, len(cells) + 1)]
    text = json.dumps(read(path))
    assert '"output_type": "error"' not in text
    assert not [place for place in ('/home/', '/root/', '/work/', '/tmp/') if place in text]
    assert path.stat().st_size < 300_000


@pytest.mark.slow
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip('nbformat'), pytest.importorskip('nbclient')
    monkeypatch.setenv('PYTHONPATH', str(REPOSITORY))
    make_task(tmp_path / 'data' / 'mini-vtab', 'digits', train=24, val=8, test=20)
    notebook = nbformat.read(path, as_version=4)
    place = dict(metadata=dict(path=str(tmp_path)))
    nbclient.NotebookClient(notebook, timeout=SECONDS, resources=place).execute()
    outputs = [o for cell in notebook.cells for o in cell.get('outputs', [])]
    assert any('image/png' in output.get('data', {}) for output in outputs)
