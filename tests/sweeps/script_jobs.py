"""Sweeps of tiny scripts in place of trainings: real processes that start in a moment."""

import argparse
import contextlib
import json
import signal
import sys
import time
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from mmengine.config import Config
from processes import CONTEXT
from rich.console import Console as Terminal

from memba_vision.runs.backbone import Backbone
from memba_vision.sweeps.console import EventLines, Row
from memba_vision.sweeps.executors import EXECUTORS, Executor
from memba_vision.sweeps.jobs import Job
from memba_vision.sweeps.loop import Policy, Sweep

FINISH = "open('result.json', 'w').write('{\"top1\": 50.0}')"
#: Saves, as a training does, when it is asked to end.
SAVE = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.3)
    pathlib.Path('saved').touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
signal.signal(signal.SIGUSR2, save)
pathlib.Path('begun').touch()
"""
#: Goes on until a file says that it may finish.
UNTIL_TOLD = f'{SAVE}\nwhile not pathlib.Path("go").exists(): time.sleep(0.05)\n{FINISH}'
#: Waits to be ended the first time, and finishes the second.
WAIT_ONCE = f"""{SAVE}
if not pathlib.Path('second').exists():
    pathlib.Path('second').touch()
    time.sleep(60)
{FINISH}
"""


@dataclass(frozen=True)
class ScriptJob(Job):
    """A run that is a Python script, run in its folder."""

    code: str = FINISH

    def command(self, processes: int = 1) -> list[str]:
        script = self.folder / 'script.py'
        script.write_text(f'import os; os.chdir({str(self.folder)!r})\n{self.code}')
        return [sys.executable, str(script)]


def script_job(folder: Path, name: str = 'digits_memba_seed0', code: str = FINISH) -> ScriptJob:
    task, method, seed = name.rsplit('_', 2)
    own_folder = folder / name
    own_folder.mkdir(parents=True, exist_ok=True)
    config = Config({'train_cfg': {'max_epochs': 3}})
    run = (name, own_folder, 'none.py', method, task, int(seed[4:]), Backbone())
    return ScriptJob(*run, config, (), code=code)


def arguments(**given: object) -> argparse.Namespace:
    """What the command line says of executors; scripts run on the CPU, unless it says more."""
    values = dict(gpus=None, jobs=2, jobs_per_gpu=1, gpus_per_run=0, cpus_per_run=1)
    values |= dict(ray_address=None, slurm_options=[], slurm_cluster='local')
    values |= dict(fresh_processes=False, max_queued=None)
    return argparse.Namespace(**{**values, **given})


class ScriptExecutor(EXECUTORS['local']):
    """This machine, with a server that is ready in a moment: scripts need no imports."""

    imports = ''


def sweep(
    scripts: list[Job], policy: Policy | None = None, **given: object
) -> tuple[dict[str, Row], str]:
    """Sweep in this process, on this machine: how the runs stand, and what was said."""
    runner = ScriptExecutor(arguments(**given), scripts[0].folder.parent)
    with contextlib.closing(runner):
        return sweep_with(runner, scripts, policy)


def sweep_with(
    runner: Executor, scripts: list[Job], policy: Policy | None = None
) -> tuple[dict[str, Row], str]:
    said = StringIO()
    console = EventLines(Terminal(file=said, width=200))
    rows = Sweep(scripts, runner, console, policy or Policy()).run()
    return {row.job.name: row for row in rows}, said.getvalue()


def start_sweep(folder: Path, codes: dict[str, str]):
    """Sweep in a process of its own."""
    process = CONTEXT.Process(target=_sweep, args=(folder, codes))
    process.start()
    return process


def _sweep(folder: Path, codes: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
    try:
        sweep([script_job(folder, name, code) for name, code in codes.items()])
    except KeyboardInterrupt:
        sys.exit(130)


def wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f'{path} did not appear'
        time.sleep(0.02)


def status(folder: Path) -> dict:
    return json.loads((folder / 'status.json').read_text())
