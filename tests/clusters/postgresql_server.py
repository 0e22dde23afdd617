"""A PostgreSQL server on this machine, which ends with its ``with``.

It installs nothing and touches no other server. PostgreSQL refuses to run as root: then it runs as
``nobody``.
"""

import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from slurm_cluster import free_ports

PROGRAMS = ('initdb', 'postgres')
#: Debian keeps them there, and only the clients in the path.
FOLDERS = os.pathsep.join(sorted(glob.glob('/usr/lib/postgresql/*/bin'), reverse=True))
USER, PASSWORD = 'searcher', 'opensesame'
SETTINGS = dict(fsync='off', listen_addresses='127.0.0.1', max_connections='40')
PATIENCE = 60.0  # seconds for the server to begin


def program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL; None where it is missing."""
    return shutil.which(name, path=f'{os.environ["PATH"]}{os.pathsep}{FOLDERS}')


def missing() -> list[str]:
    """Return the programs that are not here."""
    return [name for name in PROGRAMS if program(name) is None]


class PostgreSQLServer:
    """The server, with one user, for the length of a ``with``; it may be stopped and started."""

    def __init__(self) -> None:
        # Not in pytest's folders, which other users may not enter.
        self.home = Path(tempfile.mkdtemp(prefix='postgresql-'))
        self.data = self.home / 'data'
        (self.port,) = free_ports(1)
        self.runs_as = dict(user='nobody', group='nogroup') if os.getuid() == 0 else {}
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> 'PostgreSQLServer':
        try:
            self._make()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.home)

    def storage(self, database: str = 'postgres', password: str = PASSWORD) -> str:
        """Return the address of a database for ``--storage``."""
        return f'postgresql+psycopg://{USER}:{password}@127.0.0.1:{self.port}/{database}'

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = SETTINGS | dict(port=str(self.port), unix_socket_directories=str(self.home))
        options = [part for pair in settings.items() for part in ('-c', '='.join(pair))]
        command = [program('postgres'), '-D', str(self.data), *options]
        with (self.home / 'log').open('ab') as log:
            kept = dict(stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            self.process = subprocess.Popen(command, **kept, **self.runs_as)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, (self.home / 'log').read_text()
            assert time.monotonic() < deadline, 'the server does not answer'
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server at once, as a shutdown of its machine does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(PATIENCE)
        self.process = None

    def _make(self) -> None:
        password = self.home / 'password'
        password.write_text(PASSWORD)
        if self.runs_as:
            for path in (self.home, password):
                shutil.chown(path, **self.runs_as)
        options = ['--no-sync', '--auth=scram-sha-256', f'--username={USER}', '--locale=C']
        command = [program('initdb'), '-D', str(self.data), f'--pwfile={password}', *options]
        subprocess.run(
            [*command, '--encoding=UTF8'], check=True, capture_output=True, **self.runs_as
        )

    def _answers(self) -> bool:
        import psycopg

        try:
            address = self.storage().replace('+psycopg', '')
            psycopg.connect(address, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
