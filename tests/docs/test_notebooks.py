"""The notebooks run from top to bottom, and were saved as they ran."""

import json
import re

import pytest
from helpers import REPOSITORY, make_task

NOTEBOOKS = sorted((REPOSITORY / 'docs' / 'notebooks').glob('*.ipynb'))
SECONDS = 600
#: An absolute path, as of whoever saved a notebook; those of addresses follow their host.
ABSOLUTE = re.compile(r'(?<![\w.:/<])/[\w.-]+/[\w.-]')


def read(path):
    return json.loads(path.read_text(encoding='utf-8'))


def code_cells(path):
    return [cell for cell in read(path)['cells'] if cell['cell_type'] == 'code']


def written(path):
    """All text in a notebook, but for its pictures."""
    for cell in read(path)['cells']:
        yield ''.join(cell['source'])
        for output in cell.get('outputs', []):
            yield ''.join(output.get('text', []))
            kinds = output.get('data', {}).items()
            yield from (''.join(text) for kind, text in kinds if kind.startswith('text/'))


def test_an_absolute_path_is_seen():
    assert ABSOLUTE.search('saved in /srv/me/x') and ABSOLUTE.search("'/srv/me'")
    assert not ABSOLUTE.search('see https://a.org/b/c, work_dirs/d/e and 1/2')


def test_there_are_two():
    assert [path.stem for path in NOTEBOOKS] == ['adapt_and_explain', 'compare_methods']


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_run_in_one_go_and_names_no_machine(path):
    cells = code_cells(path)
    assert [cell['execution_count'] for cell in cells] == [*range(1, len(cells) + 1)]
    text = json.dumps(read(path))
    assert '"output_type": "error"' not in text
    assert not [found[0] for part in written(path) if (found := ABSOLUTE.search(part))]
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
