import pytest
from helpers import REPOSITORY
from scratch import PythonServer, Scratch

# These are about the repository: an installed package has neither docs nor README.
if not (REPOSITORY / 'setup.py').is_file():
    collect_ignore_glob = ['test_*.py']


@pytest.fixture(scope='session')
def python_server(tmp_path_factory):
    server = PythonServer(tmp_path_factory.mktemp('server'))
    yield server
    server.stop()


@pytest.fixture
def scratch(tmp_path, python_server):
    scratch = Scratch(tmp_path / 'memba_vision', python_server)
    yield scratch
    scratch.close()
