"""Locks between machines, for which processes with another host name stand."""

import os
import sys
import time

import other_machine
import pytest

from memba_vision import leases
from memba_vision.files import exclusive_lock
from memba_vision.leases import object_store, seems_held


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    other_machine.hurry(monkeypatch)


def test_a_lock_of_another_machine_holds_while_its_process_lives(tmp_path):
    path = tmp_path / '.x.lease'
    process = other_machine.hold('there', path)
    begun = time.monotonic()
    while time.monotonic() < begun + 1.5 * leases.LEASE:
        assert seems_held(path)
        time.sleep(0.1)
    process.kill()
    process.wait()
    died = time.monotonic()
    assert seems_held(path), 'only time tells'
    with exclusive_lock(tmp_path / 'x'):
        assert time.monotonic() - died > leases.LEASE / 2
    assert not seems_held(path)
    assert not os.listdir(tmp_path)


@pytest.fixture
def no_exchange(monkeypatch):
    """Have renames as NFS, Lustre and BeeGFS have them: two names cannot be exchanged."""
    leases.lease('loads the library')
    loaded = [module for name, module in sys.modules.items() if name.startswith('filelock')]
    found = [module for module in loaded if hasattr(module, 'exchange_names')]
    assert found, 'filelock does it in another way now: see how'
    for module in found:
        monkeypatch.setattr(module, 'exchange_names', lambda *_: False)


@pytest.mark.parametrize('host', ['there', leases.socket.gethostname()])
def test_a_dead_machine_holds_nothing_where_names_cannot_be_exchanged(tmp_path, no_exchange, host):
    process = other_machine.hold(host, tmp_path / '.x.lease')
    process.kill()
    process.wait()
    with leases.lease(tmp_path / '.x.lease').acquire(timeout=20 * leases.LEASE):
        assert os.listdir(tmp_path) == ['.x.lease']
    assert not os.listdir(tmp_path)


def test_who_lives_keeps_its_lease_where_names_cannot_be_exchanged(tmp_path, no_exchange):
    process = other_machine.hold('there', tmp_path / '.x.lease')
    with pytest.raises(TimeoutError):
        leases.lease(tmp_path / '.x.lease').acquire(timeout=3 * leases.LEASE)
    process.kill()
    process.wait()


def test_a_lease_that_changed_hands_meanwhile_is_not_moved_away(tmp_path):
    path = str(tmp_path / '.x.lease')
    with leases.lease(path) as lease:
        leases._move_away(path, (1, 1))
        time.sleep(2 * other_machine.BEAT)
        assert lease.compromise is None
    assert not os.listdir(tmp_path)


def test_a_lock_goes_at_once_with_its_process_on_this_machine(tmp_path):
    process = other_machine.hold(leases.socket.gethostname(), tmp_path / '.x.lease')
    process.kill()
    process.wait()
    begun = time.monotonic()
    with exclusive_lock(tmp_path / 'x'):
        assert time.monotonic() - begun < leases.LEASE / 2


def test_one_at_a_time_on_two_machines(tmp_path):
    counter = tmp_path / 'counter'
    counter.write_text('0')
    code = f"""
leases = hurry(read({leases.__file__!r}))
counter = pathlib.Path({str(counter)!r})
for _ in range(10):
    with leases.lease({str(tmp_path / '.counter.lease')!r}):
        number = int(counter.read_text())
        time.sleep(0.005)
        counter.write_text(str(number + 1))
"""
    processes = [other_machine.start(host, code) for host in ('a', 'a', 'b', 'b')]
    assert [process.wait() for process in processes] == [0] * 4
    assert counter.read_text() == '40'


def test_a_lease_that_is_lost_says_so(tmp_path):
    with exclusive_lock(tmp_path / 'x') as lock:
        assert lock.compromise is None
        (tmp_path / '.x.lease').unlink()  # as whoever takes over does
        deadline = time.monotonic() + 20
        while lock.compromise is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_first_look_goes_by_the_clock(tmp_path):
    path = tmp_path / 'x'
    path.touch()
    os.utime(path, (1000, 1000))
    assert not seems_held(path)
    assert not seems_held(tmp_path / 'none')


@pytest.mark.parametrize(
    ('mount', 'found'),
    [
        ('fuse.s3fs s3fs rw', True),
        ('fuse mountpoint-s3 rw', True),
        ('fuse.rclone remote:bucket rw', True),
        ('fuse.gcsfuse bucket rw', True),
        ('fuse.juicefs JuiceFS:data rw', False),  # keeps its names in a database
        ('nfs4 server:/rclone rw', False),
        ('ext4 /dev/sda1 rw', False),
    ],
)
def test_mounts_of_object_stores_are_recognised(monkeypatch, tmp_path, mount, found):
    place = str(tmp_path / 'my data').replace(' ', r'\040')
    lines = f'21 1 8:1 / / rw - ext4 /dev/sda1 rw\n36 21 0:50 / {place} rw,nosuid - {mount}\n'
    (tmp_path / 'mountinfo').write_text(lines)
    read = leases.Path.read_text
    monkeypatch.setattr(leases.Path, 'read_text', lambda *_, **__: read(tmp_path / 'mountinfo'))
    said = object_store(tmp_path / 'my data' / 'sweep')
    assert bool(said) == found
    assert not found or str(tmp_path / 'my data') in said
    assert not object_store('/elsewhere')
    automount = f'30 21 0:49 / {place} rw - autofs systemd-1 rw,fd=42\n'
    (tmp_path / 'mountinfo').write_text(lines.replace('36 21', f'{automount}36 30'))
    assert object_store(tmp_path / 'my data' / 'sweep') == said, 'the later mount is on top'
