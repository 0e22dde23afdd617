"""Processes that stand for those of another machine, to which the system's locks do not reach.

They have another host name, ``flock`` succeeds without a look at who has the lock, and leases end
and are renewed sooner than usual, so that tests end.
"""

import subprocess
import sys
from pathlib import Path

from memba_vision import leases
from memba_vision.sweeps import supervise
from memba_vision.sweeps.executors.base import supervisor_arguments

LEASE, BEAT = 2.0, 0.4  # seconds
POSE = f"""
import fcntl, importlib.util, os, pathlib, signal, socket, sys, time
socket.gethostname = lambda: {{host!r}}
fcntl.flock = lambda *_: None
def read(path):
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
def hurry(leases):
    leases.LEASE, leases.BEAT, leases.POLL = {LEASE}, {BEAT}, 0.05
    return leases
"""


def start(host: str, code: str, **options) -> subprocess.Popen:
    """Start Python on a host; ``read`` and ``hurry`` load leases.py or supervise.py."""
    return subprocess.Popen([sys.executable, '-c', POSE.format(host=host) + code], **options)


def hold(host: str, path: Path) -> subprocess.Popen:
    """Start a process that takes a lease and waits to be killed; return when it has the lease."""
    process = start(
        host,
        f'with hurry(read({leases.__file__!r})).lease({str(path)!r}):\n'
        '    print("taken", flush=True)\n'
        '    time.sleep(100)\n',
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b'taken\n'
    return process


def supervise_on(host: str, job) -> subprocess.Popen:
    """Start the supervisor of a run on a host."""
    arguments = supervisor_arguments(job, {})
    return start(
        host,
        f'supervise = read({supervise.__file__!r})\n'
        f'hurry(supervise.leases)\nsys.exit(supervise.main({arguments!r}))\n',
    )


def hurry(monkeypatch) -> None:
    """Let leases of this process be like those of the others."""
    for name, value in dict(LEASE=LEASE, BEAT=BEAT, POLL=0.05).items():
        monkeypatch.setattr(leases, name, value)
