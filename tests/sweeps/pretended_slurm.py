"""The commands of Slurm that a sweep calls, acting on this machine.

Slurm itself cannot be had in a test. These run what they are given, know what runs, and end it.
Files in ``jobs`` hold the states of jobs, ``calls.txt`` the command lines.
"""

import json
import os
import signal
import sys
from pathlib import Path

COMMON = """
import json, os, signal, subprocess, sys, time
JOBS = os.path.join(HOME, 'jobs')
with open(os.path.join(HOME, 'calls.txt'), 'a') as calls:
    calls.write(' '.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + '\\n')

def is_alive(pid):
    try:
        return 'State:\\tZ' not in open(f'/proc/{pid}/status').read()
    except FileNotFoundError:
        return False

def state_of(number):
    job = json.load(open(os.path.join(JOBS, number)))
    if job['state'] not in ('RUNNING', 'CANCELLED'):
        return job['state']
    if is_alive(job['pid']):
        return 'RUNNING' if job['state'] == 'RUNNING' else 'COMPLETING'
    return 'COMPLETED' if job['state'] == 'RUNNING' else 'CANCELLED'

def note(number, **facts):
    path = os.path.join(JOBS, number)
    job = json.load(open(path)) if os.path.exists(path) else {}
    with open(path + '.new', 'w') as file:
        json.dump({**job, **facts}, file)
    os.replace(path + '.new', path)
"""
SBATCH = """
script = open(sys.argv[-1]).read()
open(os.path.join(HOME, 'submitted.txt'), 'a').write(script)
array = [line.split('=')[1] for line in script.splitlines() if line.startswith('#SBATCH --array=')]
indices = range(int(array[0].strip("'").split('%')[0].split('-')[1]) + 1) if array else [None]
base = str(1000 + len(os.listdir(JOBS)))
for index in indices:
    number = base if index is None else f'{base}_{index}'
    if os.path.exists(os.path.join(HOME, 'full')):  # no node is free
        note(number, pid=0, state='PENDING')
        continue
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        note(number, pid=os.getpid(), state='RUNNING')
        os.write(writing, b'1')
        os.environ.update(
            SLURM_JOB_ID=number, SLURM_NTASKS='1', SLURM_JOB_NUM_NODES='1', SLURM_NODEID='0',
            SLURM_PROCID='0', SLURM_LOCALID='0', SLURM_JOB_NODELIST='here',
        )
        if index is not None:
            os.environ.update(SLURM_ARRAY_JOB_ID=base, SLURM_ARRAY_TASK_ID=str(index))
        with open(os.devnull, 'r+') as nothing:
            for stream in (0, 1, 2):
                os.dup2(nothing.fileno(), stream)
        os.execvp('bash', ['bash', sys.argv[-1]])
    os.read(reading, 1)
print('Submitted batch job', base)
"""
SRUN = """
rest = sys.argv[1:]
number = os.environ['SLURM_JOB_ID']
log = rest[rest.index('--error') + 1].replace('%A_%a', number).replace('%j', number)
os.makedirs(os.path.dirname(log), exist_ok=True)
os.dup2(os.open(log.replace('%t', '0'), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
while rest[0].startswith('-'):
    rest = rest[2:] if rest[0] in ('--output', '--error') else rest[1:]
os.execvp(rest[0], rest)
"""
SACCT = """
for number in sys.argv[-1].split(','):
    if os.path.exists(os.path.join(JOBS, number)):
        state = state_of(number)
        print(f'{number}|{state + " by 1000" if state == "CANCELLED" else state}|here')
"""
SQUEUE = """
if os.path.exists(os.path.join(HOME, 'down')):
    sys.exit('slurm_load_jobs error: Unable to contact slurm controller')
for number in os.listdir(JOBS):
    print(f'{number}|{state_of(number)}|here|None')
open(os.path.join(HOME, 'answered'), 'w').close()
"""
SCANCEL = """
for number in sys.argv[1:]:
    note(number, state='CANCELLED')
    shell = json.load(open(os.path.join(JOBS, number)))['pid']
    # Slurm signals what it has started itself, and not what that starts in its turn.
    for child in open(f'/proc/{shell}/task/{shell}/children').read().split():
        os.kill(int(child), signal.SIGTERM)
"""


def install(folder: Path) -> str:
    """Write the commands; the ``PATH`` on which they are found."""
    commands = folder / 'bin'
    commands.mkdir()
    (folder / 'jobs').mkdir()
    for name, code in dict(
        sbatch=SBATCH, srun=SRUN, sacct=SACCT, squeue=SQUEUE, scancel=SCANCEL
    ).items():
        path = commands / name
        path.write_text(f'#!{sys.executable}\nHOME = {str(folder)!r}\n{COMMON}\n{code}')
        path.chmod(0o755)
    return f'{commands}{os.pathsep}{os.environ["PATH"]}'


def warn_of_the_time_limit(folder: Path, number: str) -> None:
    """Send SIGUSR2 to every process of a job but its script, as Slurm does with ``USR2@90``."""
    shell = json.loads((folder / 'jobs' / number).read_text())['pid']
    for process in _below(shell):
        os.kill(process, signal.SIGUSR2)


def _below(process: int) -> list[int]:
    children = Path(f'/proc/{process}/task/{process}/children').read_text().split()
    return [each for child in map(int, children) for each in (child, *_below(child))]
