"""Archives: what is unpacked, what is refused before a byte is written, what is resumed."""

import gzip
import io
import os
import stat
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import run_tool

from memba_vision.datasets.vtab1k_tools import archive as archive_module
from memba_vision.datasets.vtab1k_tools.archive import extract
from memba_vision.datasets.vtab1k_tools.fetch import DRIVE_ID
from memba_vision.errors import UserError
from memba_vision.files import temporary_name

FILES = {
    'vtab-1k/cifar/test.txt': b'images/test/0.png 1\n',
    'vtab-1k/cifar/images/test/0.png': os.urandom(70_000),
    'vtab-1k/cifar/images/test/\u00fc b.png': b'',
}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = 'w:gz', **fields) -> Path:
    with tarfile.open(path, mode) as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            file.addfile(info, io.BytesIO(content))
    return path


WRITERS = {
    'zip': write_zip,
    'tar': lambda path, files: write_tar(path, files, 'w'),
    'tar.gz': write_tar,
    'tar.xz': lambda path, files: write_tar(path, files, 'w:xz'),
}
each_kind = pytest.mark.parametrize('kind', WRITERS)


@pytest.fixture
def make(tmp_path):
    def call(kind: str, files: dict[str, bytes] = FILES) -> Path:
        return WRITERS[kind](tmp_path / f'a.{kind}', files)

    return call


def files_below(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob('*') if path.is_file() or path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refused(archive: Path, out: Path, match: str, **limits) -> None:
    """Refused in one line, and nothing is there that was not there before."""
    before = files_below(out.parent)
    with pytest.raises(UserError, match=match) as error:
        extract(archive, out, **limits)
    assert '\n' not in str(error.value)
    assert files_below(out.parent) == before


@each_kind
def test_unpacked_is_what_was_packed(make, tmp_path, kind):
    for _ in range(2):
        assert extract(make(kind), tmp_path / 'out') == 3
        assert files_below(tmp_path / 'out') == FILES


@each_kind
@pytest.mark.parametrize(
    'name',
    [
        '../evil',
        'a/../../evil',
        '/tmp/evil_of_memba_vision',
        'a\\..\\..\\evil',
        'C:/evil',
        'a/\n/evil',
        '..',
    ],
)
def test_a_path_that_leaves_the_folder(make, tmp_path, kind, name):
    archive = make(kind, {'first': b'x', name: b'x'})
    refused(archive, tmp_path / 'out', 'leaves the folder, or is no plain path')
    assert not Path('/tmp/evil_of_memba_vision').exists()


def test_the_folder_itself_may_be_listed(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/b').write_bytes(b'x')
    with tarfile.open(tmp_path / 'a.tar', 'w') as file:
        file.add(tmp_path / 'a', './')
    extract(tmp_path / 'a.tar', tmp_path / 'out')
    assert files_below(tmp_path / 'out') == {'b': b'x'}


@pytest.mark.parametrize('target', ['/etc/passwd', '../../x', 'first'])
@pytest.mark.parametrize('type', [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_a_tar(tmp_path, type, target):
    archive = write_tar(tmp_path / 'a.tar', {'link': b''}, 'w', type=type, linkname=target)
    refused(archive, tmp_path / 'out', 'is a link, a device')


@pytest.mark.parametrize('type', [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_device_in_a_tar(tmp_path, type):
    archive = write_tar(tmp_path / 'a.tar', {'pipe': b''}, 'w', type=type)
    refused(archive, tmp_path / 'out', 'device|damaged')


def test_a_link_in_a_zip(tmp_path):
    info = zipfile.ZipInfo('link')
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as file:
        file.writestr('first', b'x')
        file.writestr(info, '/etc')
    refused(tmp_path / 'a.zip', tmp_path / 'out', 'is a link or a device')


def test_a_link_that_lies_in_the_target(make, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'out/vtab-1k').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(UserError, match=r'leads out of .* by a link'):
        extract(make('zip'), tmp_path / 'out')
    assert not files_below(tmp_path / 'elsewhere')


def test_a_link_under_a_file_s_name_is_replaced_not_followed(make, tmp_path):
    victim = tmp_path / 'victim'
    victim.write_bytes(b'precious')
    folder = tmp_path / 'out/vtab-1k/cifar'
    folder.mkdir(parents=True)
    (folder / 'test.txt').symlink_to(victim)
    temporary_name(folder / 'test.txt').symlink_to(victim)
    extract(make('zip'), tmp_path / 'out')
    assert victim.read_bytes() == b'precious'
    assert files_below(tmp_path / 'out') == FILES


@each_kind
def test_limits_on_size_and_number(make, tmp_path, kind):
    refused(make(kind), tmp_path / 'out', 'more than 70,000 bytes', max_bytes=70_000)
    refused(make(kind), tmp_path / 'out', 'more than 2 files', max_files=2)


def test_a_bomb_is_not_unpacked(tmp_path):
    write_zip(tmp_path / 'a.zip', {'bomb': bytes(50_000_000)})
    assert (tmp_path / 'a.zip').stat().st_size < 60_000
    refused(tmp_path / 'a.zip', tmp_path / 'out', 'more than', max_bytes=10**7)


def test_a_bomb_that_lies_about_its_size_stops_at_what_it_announced(tmp_path):
    path = write_zip(tmp_path / 'a.zip', {'bomb': bytes(5_000_000)})
    content = path.read_bytes()
    path.write_bytes(content.replace((5_000_000).to_bytes(4, 'little'), (9).to_bytes(4, 'little')))
    refused(path, tmp_path / 'out', 'damaged')


@each_kind
def test_names_that_clash(make, tmp_path, kind):
    refused(make(kind, {'a': b'', 'a/b': b''}), tmp_path / 'out', 'lies below a file')
    refused(make(kind, {'a/b': b'', 'a//b': b'x'}), tmp_path / 'out', 'is there twice')


@each_kind
def test_a_target_that_cannot_be_written_is_no_damage(make, tmp_path, kind):
    archive = make(kind)
    name = next(iter(FILES))
    (tmp_path / 'out' / name).mkdir(parents=True)  # a folder where a file is to be
    with pytest.raises(UserError, match=r'cannot write .*: see to its permissions') as error:
        extract(archive, tmp_path / 'out')
    assert 'download it again' not in str(error.value)


@each_kind
@pytest.mark.parametrize('share', [0.0, 0.3, 0.8])
def test_a_truncated_archive(make, tmp_path, kind, share):
    archive = make(kind)
    os.truncate(archive, int(archive.stat().st_size * share))
    with pytest.raises(UserError, match='damaged, truncated or no zip or tar; download it again'):
        extract(archive, tmp_path / 'out')
    assert files_below(tmp_path / 'out').items() <= FILES.items()


def test_a_tar_that_was_cut_between_two_files(tmp_path):
    archive = write_tar(tmp_path / 'a.tar', {'a': bytes(512), 'b': b''}, 'w')
    os.truncate(archive, 1024)
    refused(archive, tmp_path / 'out', 'its end mark is missing')


@each_kind
def test_a_damaged_byte_of_a_zip_or_a_compressed_tar(make, tmp_path, kind):
    archive = make(kind)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 4
    archive.write_bytes(content)
    if kind == 'tar':  # it has no checksum of its contents: "check" decodes every image
        return
    with pytest.raises(UserError, match='cannot be unpacked'):
        extract(archive, tmp_path / 'out')
    assert files_below(tmp_path / 'out').items() <= FILES.items()


def test_a_header_that_would_fill_the_memory(tmp_path):
    header = tarfile.TarInfo('x')
    header.type, header.size = tarfile.XHDTYPE, 5_000_000
    content = header.tobuf(tarfile.GNU_FORMAT) + bytes(6_000_000)
    (tmp_path / 'a.tar.gz').write_bytes(gzip.compress(content))
    refused(tmp_path / 'a.tar.gz', tmp_path / 'out', r'a header of 5,000,000 bytes')


def test_a_flood_after_the_end_of_a_tar(tmp_path, monkeypatch):
    archive = write_tar(tmp_path / 'a.tar', {'a': b'x'}, 'w').read_bytes()
    (tmp_path / 'a.tar.gz').write_bytes(gzip.compress(archive + bytes(3 << 20)))
    extract(tmp_path / 'a.tar.gz', tmp_path / 'padded')
    monkeypatch.setattr(archive_module, 'MAX_BYTES_AFTER_THE_END', 1 << 20)
    refused(tmp_path / 'a.tar.gz', tmp_path / 'out', 'something after its end')


@pytest.mark.parametrize('content', [b'', b'<html>quota exceeded</html>', bytes(2000)])
def test_no_archive(tmp_path, content):
    (tmp_path / 'a.zip').write_bytes(content)
    refused(tmp_path / 'a.zip', tmp_path / 'out', 'download it again')


def test_an_encrypted_zip(make, tmp_path):
    archive = make('zip', {'a': b'x'})
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b'PK\x01\x02') + 8] |= 1
    archive.write_bytes(content)
    refused(archive, tmp_path / 'out', 'encrypted')


@each_kind
def test_an_interrupted_call_is_continued(make, tmp_path, kind, monkeypatch):
    archive, replace, calls = make(kind), os.replace, []

    def count(*paths):
        calls.append(paths)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(archive_module.os, 'replace', count)
    with pytest.raises(KeyboardInterrupt):
        extract(archive, tmp_path / 'out')
    first = tmp_path / 'out' / next(iter(FILES))
    assert files_below(tmp_path / 'out') == {next(iter(FILES)): first.read_bytes()}
    written = first.stat().st_mtime_ns
    extract(archive, tmp_path / 'out')
    assert files_below(tmp_path / 'out') == FILES
    assert len(calls) == 4, 'the first file was written twice'
    assert first.stat().st_mtime_ns == written


@each_kind
def test_a_file_that_another_program_left_damaged_is_replaced(make, tmp_path, kind):
    extract(make(kind), tmp_path / 'out')
    (tmp_path / 'out/vtab-1k/cifar/images/test/0.png').write_bytes(bytes(70_000))
    extract(make(kind), tmp_path / 'out')
    assert files_below(tmp_path / 'out') == FILES


def test_the_tools_of_download_and_extract(make, tmp_path, file_server, monkeypatch):
    make('zip').rename(file_server.folder / 'v.zip')
    path = tmp_path / 'v.zip'
    url = f'{file_server.url}/v.zip'
    assert run_tool('prepare_vtab1k', 'download', '--url', url, '--out', path).status == 0
    outcome = run_tool('prepare_vtab1k', 'extract', path, '--out', tmp_path / 'out')
    assert outcome.out.startswith(f'{tmp_path}/out: 3 files')
    assert files_below(tmp_path / 'out') == FILES
    assert 'give the path' in run_tool('prepare_vtab1k', 'extract', tmp_path / 'no.zip').error()


@pytest.mark.parametrize('size', ['inf', 'nan', '-1', '0', '1e300', 'much'])
def test_a_limit_that_is_none(make, size):
    outcome = run_tool('prepare_vtab1k', 'extract', make('zip'), f'--max-gigabytes={size}')
    assert outcome.status == 2
    assert f'--max-gigabytes: expected more than 0, up to 1e+09, found {size}' in outcome.err


def test_google_drive_without_gdown(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gdown', None)
    error = run_tool('prepare_vtab1k', 'download', '--out', tmp_path / 'v.zip').error()
    assert 'pip install gdown' in error
    assert '1yZKwiKdsBzTfBgnStRveYMokc7GMMd5p' in error


@pytest.mark.parametrize('answer', [None, OSError('Too many users\nhave viewed this file')])
def test_google_drive_that_gives_no_file(tmp_path, monkeypatch, answer):
    asked = []

    def download(**settings):
        asked.append(settings)
        if answer:
            raise answer

    monkeypatch.setitem(sys.modules, 'gdown', SimpleNamespace(download=download))
    path = tmp_path / 'new/v.zip'
    error = run_tool('prepare_vtab1k', 'download', '--out', path).error()
    assert 'run the same command again later' in error
    assert f'save it as {path}' in error
    assert asked == [dict(id=DRIVE_ID, output=str(path), resume=True)]
