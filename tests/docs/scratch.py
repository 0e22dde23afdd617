"""A copy of the repository in which the blocks of one page run, from top to bottom."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from blocks import Block
from helpers import REPOSITORY, make_task
from PIL import Image

from memba_vision.datasets.tasks import MINI_TASKS

HERE = Path(__file__).parent
COPIED = ('configs', 'docs', 'memba_vision', 'tests', 'tools')
BLOCK_SECONDS = 300
#: Several on a busy machine wait for each other.
ONE_THREAD = {'OMP_NUM_THREADS': '1'}
PHOTOS_PER_CLASS = 14


class PythonServer:
    """The process that all ``python`` commands of all pages are forks of.

    Args:
        folder: for its socket and its log.
    """

    def __init__(self, folder: Path) -> None:
        self.address = folder / 'python'
        self.log = folder / 'python_server.log'
        with self.log.open('w') as log:
            self.process = subprocess.Popen(
                [sys.executable, HERE / 'python_server.py', self.address],
                stdout=log,
                stderr=log,
                env=os.environ | ONE_THREAD,
                start_new_session=True,
            )
        while not self.address.exists():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """End it, and whatever it started."""
        os.killpg(self.process.pid, 9)
        self.process.wait()


class Scratch:
    """The copy, with small images where the pages expect some.

    It has the tasks of mini-VTAB with 24 images each, folders of photos by class, and single
    photos.

    Args:
        folder: where to; empty.
        server: what its ``python`` is.
    """

    def __init__(self, folder: Path, server: PythonServer) -> None:
        self.folder = folder
        for name in COPIED:
            ignored = shutil.ignore_patterns('__pycache__', '.mim')  # an editable install's links
            shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
        for path in REPOSITORY.iterdir():
            if path.is_file() and path.name != '.git':
                shutil.copy(path, folder)
        for task in MINI_TASKS:
            make_task(folder / 'data' / 'mini-vtab', task, train=20, val=4, test=20)
        make_photos(folder)
        self._make_commands(folder / '.venv' / 'bin', server.address)
        self.environment = {
            **os.environ,
            'PATH': f'{folder / ".venv" / "bin"}:{os.environ["PATH"]}',
            'PYTHONPATH': str(folder),
            **ONE_THREAD,
        }
        self.session = None

    def _make_commands(self, commands: Path, address: Path) -> None:
        commands.mkdir(parents=True)
        client = f'exec {sys.executable} -I -S {HERE}'
        for name in ('python', 'python3'):
            write_command(commands / name, f'{client}/python_client.py {address} "$@"')
        module = f'{client}/python_client.py {address} -m memba_vision "$@"'
        write_command(commands / 'memba-vision', module)
        write_command(commands / 'pip', f'{client}/pip_check.py "$@"')

    def run(self, block: Block) -> None:
        """Run a block, or write the file that it is."""
        if block.is_shell:
            self.run_commands(block)
        elif block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding='utf-8')
        else:
            self.run_code(block)

    def run_commands(self, block: Block) -> None:
        """Run a shell block; every command in it must succeed."""
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', block.commands],
            cwd=self.folder,
            env={**self.environment, 'DOCS_ARGUMENTS': block.arguments},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=BLOCK_SECONDS,
        )
        assert done.returncode == 0, f'{block}:\n{block.commands}\n{done.stdout[-3000:]}'

    def run_code(self, block: Block) -> None:
        """Run a Python block; it knows the names of the page's earlier ones."""
        if self.session is None:
            self.session = subprocess.Popen(
                [self.folder / '.venv' / 'bin' / 'python', HERE / 'python_session.py'],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=(self.folder / 'python_session.log').open('w'),
                text=True,
            )
        self.session.stdin.write(json.dumps([str(block), block.text]) + '\n')
        self.session.stdin.flush()
        answer = self.session.stdout.readline()
        assert answer, (self.folder / 'python_session.log').read_text()
        problem = json.loads(answer)
        assert problem is None, f'{block}:\n{block.text}\n{problem}'

    def close(self) -> None:
        """End the page's Python."""
        if self.session is not None:
            self.session.stdin.close()
            self.session.wait(timeout=30)


def write_command(path: Path, line: str) -> None:
    """Write a shell script of one line."""
    path.write_text(f'#!/bin/sh\n{line}\n')
    path.chmod(0o755)


def make_photos(folder: Path) -> None:
    """Three classes of noise, each in a colour of its own, and single photos beside them."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(('daisy', 'rose', 'tulip')):
        for number in range(PHOTOS_PER_CLASS):
            path = folder / 'photos' / name / f'IMG_{number:04d}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 60, (48, 64, 3))
            pixels[..., channel] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    for name in ('photo.jpg', 'new1.jpg', 'new2.jpg'):
        shutil.copy(folder / 'photos' / 'rose' / 'IMG_0000.jpg', folder / name)
