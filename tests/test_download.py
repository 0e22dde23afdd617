import os
import threading

import pytest

from memba_vision.download import download
from memba_vision.errors import UserError

CONTENT = os.urandom(300_000)


@pytest.fixture
def fetch(file_server, tmp_path):
    """Call ``download`` for a file of the server, and return what arrived."""
    (file_server.folder / 'f.zip').write_bytes(CONTENT)
    path = tmp_path / 'new' / 'f.zip'

    def call() -> bytes:
        download(f'{file_server.url}/f.zip', path)
        return path.read_bytes()

    return call


def break_off(server, fetch, arrived: int) -> None:
    server.bytes_per_answer = arrived
    with pytest.raises(UserError, match=r'run the same command again to go on'):
        fetch()
    server.bytes_per_answer = None


def test_a_broken_download_goes_on_with_the_rest(file_server, fetch, tmp_path):
    break_off(file_server, fetch, 100_000)
    break_off(file_server, fetch, 50_000)
    assert fetch() == CONTENT
    ranges = [wanted for _, wanted in file_server.requests]
    assert ranges == [None, 'bytes=100000-', 'bytes=150000-']
    assert os.listdir(tmp_path / 'new') == ['f.zip']


def test_a_file_that_changed_meanwhile_is_fetched_anew(file_server, fetch):
    break_off(file_server, fetch, 100_000)
    file_server.version = '"2"'
    (file_server.folder / 'f.zip').write_bytes(CONTENT[::-1])
    assert fetch() == CONTENT[::-1]


@pytest.mark.parametrize('version', ['"1"', '', 'W/"1"'], ids=['no ranges', 'no version', 'weak'])
def test_a_server_that_cannot_go_on_sends_all_again(file_server, fetch, version):
    file_server.version, file_server.ranges = version, False
    break_off(file_server, fetch, 100_000)
    assert fetch() == CONTENT
    assert (file_server.requests[-1][1] is None) == (version != '"1"')


def test_a_part_that_is_longer_than_the_file_is_dropped(file_server, fetch, tmp_path):
    break_off(file_server, fetch, 100_000)
    (tmp_path / 'new/f.zip.part').write_bytes(CONTENT + b'x')
    assert fetch() == CONTENT


def test_a_file_that_is_there_is_kept(file_server, fetch, tmp_path):
    (tmp_path / 'new').mkdir()
    (tmp_path / 'new/f.zip').write_bytes(b'mine')
    assert fetch() == b'mine'
    assert not file_server.requests


def test_of_two_who_want_the_same_one_fetches_it(file_server, fetch):
    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetch() == CONTENT
    assert len(file_server.requests) == 1


def test_not_found_and_no_address(fetch, file_server, tmp_path):
    with pytest.raises(UserError, match=r'cannot download .*absent .*404'):
        download(f'{file_server.url}/absent', tmp_path / 'x')
    with pytest.raises(UserError, match='cannot download nonsense'):
        download('nonsense', tmp_path / 'x')
