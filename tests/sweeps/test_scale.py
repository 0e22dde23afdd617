"""A sweep of 19 tasks, 40 methods and 5 seeds, all of whose 3,800 runs have finished."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ENVIRONMENT, TOOLS
from rich.console import Console as Terminal

from memba_vision.runs.config_paths import absolute_paths
from memba_vision.runs.presets import preset_names
from memba_vision.sweeps.console import EventLines
from memba_vision.sweeps.executors import Attempt, Executor
from memba_vision.sweeps.folder import enter
from memba_vision.sweeps.jobs import Job, Options, make_jobs
from memba_vision.sweeps.loop import Policy, Sweep
from memba_vision.sweeps.suites import suite_configs
from memba_vision.sweeps.summary import fitting_table

STATUS = dict(state='finished', tries=1, seconds=100.0, exit_status=0, ended=1.7e9)
STEPS = [{'loss': 1.0, 'time': 0.5, 'epoch': e, 'iter': 32 * e, 'step': 32 * e} for e in (99, 100)]
# Seconds of the processor, about twice what it takes on a quiet machine.
RESTART = 20.0
REPORT = 30.0
MEMORY = 400 * 1024  # KiB
PAGE = 2_000_000  # bytes


def make_finished(job: Job) -> None:
    """Write what a run leaves, without checkpoints."""
    logs = job.folder / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    config = absolute_paths({**job.resolved.to_dict(), 'work_dir': str(job.folder)})
    result = dict(task=job.task, method=job.method, value=50.0 + len(job.name) % 9, seed=job.seed)
    result |= dict(test_images=1000, trained_parameters=9000, adapter_parameters=8000)
    result |= dict(config=job.config, checkpoint='x.pth', backbone=dict(arch=job.backbone.arch))
    (job.folder / '.lock').touch()
    (job.folder / 'status.json').write_text(json.dumps(STATUS))
    (job.folder / 'result.json').write_text(json.dumps(result))
    (job.folder / 'run.json').write_text(json.dumps([{'config': config}], default=str))
    (logs / 'scalars.json').write_text(''.join(f'{json.dumps(step)}\n' for step in STEPS))


class Nothing(Executor):
    """Runs nothing, since nothing is left to run."""

    def __init__(self) -> None:
        pass

    def start(self, job: Job) -> Attempt:
        raise AssertionError(f'{job.name} has finished')


def all_jobs(folder: Path) -> list[Job]:
    methods = preset_names()[:40]
    return make_jobs(suite_configs('vtab1k'), methods, range(5), folder, Options())


@pytest.fixture(scope='module')
def finished(tmp_path_factory) -> Path:
    """The folder of a sweep all of whose runs have finished."""
    folder = tmp_path_factory.mktemp('sweep')
    for job in all_jobs(folder):
        make_finished(job)
    enter(folder, all_jobs(folder), Options())
    return folder


@pytest.mark.slow
def test_the_restart_of_3800_finished_runs(finished, tmp_path):
    parts = [time.process_time()]
    again = all_jobs(finished)
    parts.append(time.process_time())
    enter(finished, again, Options())
    parts.append(time.process_time())
    with (tmp_path / 'said').open('w') as file:
        rows = Sweep(again, Nothing(), EventLines(Terminal(file=file)), Policy()).run()
    parts.append(time.process_time())
    text = fitting_table(finished, rows, 10**6)
    parts.append(time.process_time())
    assert len(rows) == 3800
    assert len(text.splitlines()) > 40, 'a row for each method'
    assert Path(tmp_path, 'said').read_text().count('3800 runs: 3800 finished') >= 1
    took = [round(end - begin, 1) for begin, end in itertools.pairwise(parts)]
    assert sum(took) < RESTART, f'jobs, entering, looking, table: {took}'


#: Runs a command, and prints its seconds of the processor and its memory in KiB. A process begins
#: with the peak of the one that starts it, so that one has to be small.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


@pytest.mark.slow
def test_the_report_of_3800_finished_runs(finished, tmp_path):
    report = [sys.executable, TOOLS / 'report.py', finished, '--out', tmp_path]
    command = [sys.executable, '-c', MEASURE, *report]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    seconds, memory = map(float, done.stdout.split())
    assert seconds < REPORT
    assert memory < MEMORY
    assert (tmp_path / 'report.html').stat().st_size < PAGE
