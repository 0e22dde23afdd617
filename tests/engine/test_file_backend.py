import os

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.runner import save_checkpoint

from memba_vision import files
from memba_vision.files import write_atomically
from memba_vision.leases import machine_in_names


def test_writes_and_replaces(tmp_path):
    path = tmp_path / 'new' / 'file'
    write_atomically(path, b'first')
    write_atomically(str(path), b'second')
    assert path.read_bytes() == b'second'
    assert os.listdir(path.parent) == ['file']


def test_a_link_stays_and_leads_to_the_new_content(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'link').symlink_to('elsewhere/file')
    for content in (b'first', b'second'):
        write_atomically(tmp_path / 'link', content)
        assert (tmp_path / 'link').is_symlink()
        assert (tmp_path / 'elsewhere/file').read_bytes() == content
    assert os.listdir(tmp_path / 'elsewhere') == ['file']


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'link').symlink_to('pipe')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    for name in ('pipe', 'link'):
        write_atomically(tmp_path / name, b'content')
        assert os.read(reader, 100) == b'content'
    os.close(reader)
    assert sorted(os.listdir(tmp_path)) == ['link', 'pipe']


@pytest.mark.parametrize('call', ['fsync', 'replace'])
@pytest.mark.parametrize('error', [OSError('disk full'), KeyboardInterrupt()], ids=repr)
def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, call, error):
    path = tmp_path / 'file'
    path.write_bytes(b'old')

    def fail(*_):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


def test_unfinished_files_of_this_host_go_at_once_and_of_others_after_a_day(tmp_path):
    host, dead = machine_in_names(), 4_000_000
    names = {
        'here': f'.a.pth.{host}@{dead}.1',
        'alive': f'.a.pth.{host}@{os.getpid()}.1',
        'of version 0.1': f'.a.pth.{dead}.1',
        'elsewhere': f'.a.pth.other-host@{dead}.1',
        'another machine of this name': f'.a.pth.{host[:-8]}0a1b2c3d@{dead}.1',
        'long ago': f'.b.pth.other-host@{dead}.1',
    }
    for name in names.values():
        (tmp_path / name).touch()
    os.utime(tmp_path / names['long ago'], (1000, 1000))
    files.remove_unfinished(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {names[name] for name in ('alive', 'elsewhere', 'another machine of this name')}


def test_unfinished_folders_of_this_host_go_at_once_and_of_others_after_a_day(tmp_path):
    host, dead = machine_in_names(), 4_000_000
    names = {
        'here': f'.unfinished-{host}@{dead}-1',
        'alive': f'.unfinished-{host}@{os.getpid()}-1',
        'elsewhere': f'.unfinished-other-host@{dead}-1',
        'long ago': f'.unfinished-other-host@{dead}-2',
        'of an older version': '.unfinished-abc_1',
        'of an older version, long ago': '.unfinished-abc_2',
    }
    for name in names.values():
        (tmp_path / name / 'digits').mkdir(parents=True)
    for name in ('long ago', 'of an older version, long ago'):
        os.utime(tmp_path / names[name], (1000, 1000))
    with files.unfinished_folder(tmp_path) as own:
        pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {names[name] for name in ('alive', 'elsewhere', 'of an older version')}
    assert files.UNFINISHED_FOLDER.fullmatch(own.name).groups() == (host, str(os.getpid()))


def test_the_temporary_name_is_recognised(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, 'replace', lambda source, _: seen.append(os.path.basename(source)))
    files.write_atomically(tmp_path / 'a.pth', b'')
    assert files.UNFINISHED.fullmatch(seen[0]).groups() == (machine_in_names(), str(os.getpid()))


def test_a_written_file_can_be_read_by_others(tmp_path):
    (tmp_path / 'plain').write_bytes(b'')
    write_atomically(tmp_path / 'atomic', b'')
    modes = {(tmp_path / name).stat().st_mode for name in ('plain', 'atomic')}
    assert len(modes) == 1


def test_mmengine_saves_checkpoints_through_it(tmp_path, monkeypatch):
    path = str(tmp_path / 'a.pth')
    save_checkpoint({'x': torch.ones(2)}, path, backend_args={'backend': 'atomic'})
    monkeypatch.setattr(os, 'replace', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_checkpoint({'x': torch.zeros(2)}, path, backend_args={'backend': 'atomic'})
    assert torch.equal(torch.load(path)['x'], torch.ones(2))


def test_texts(tmp_path):
    backend = get_file_backend(backend_args={'backend': 'atomic'})
    backend.put_text('Grüße', tmp_path / 'text')
    assert (tmp_path / 'text').read_text(encoding='utf-8') == 'Grüße'
