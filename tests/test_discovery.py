"""Acting when a package has been imported."""

import importlib
import sys
from importlib.util import find_spec

import pytest

from memba_vision.discovery import after_import


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    monkeypatch.setattr(sys, 'meta_path', list(sys.meta_path))


def test_the_action_waits_for_the_import(tmp_path, monkeypatch):
    (tmp_path / 'late_package.py').write_text('loaded = True\n')
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    after_import('late_package', lambda: seen.append(sys.modules['late_package'].loaded))
    assert find_spec('late_package') is not None
    assert seen == []
    module = importlib.import_module('late_package')
    assert importlib.import_module('late_package') is module
    assert seen == [True]
    assert type(module.__loader__) is type(module.__spec__.loader)
    assert module.__file__ == str(tmp_path / 'late_package.py')
    monkeypatch.delitem(sys.modules, 'late_package')


def test_a_package_that_is_there_or_missing():
    seen = []
    after_import('json', lambda: seen.append('json'))
    assert seen == ['json']
    after_import('no_such_package', lambda: seen.append('never'))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('no_such_package')
    assert seen == ['json']
