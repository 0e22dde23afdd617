"""The five commands of Slurm that a sweep calls, acting on this machine.

Slurm itself cannot be had in a test. These run what they are given, know what runs, and end it.
"""

import os
import sys
from pathlib import Path

SBATCH = """
import os, subprocess, sys
script = open(sys.argv[-1]).read()
open(os.path.join(HOME, 'submitted.txt'), 'a').write(script)
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    number = os.getpid()
    os.write(writing, str(number).encode())
    os.environ.update(
        SLURM_JOB_ID=str(number), SLURM_NTASKS='1', SLURM_JOB_NUM_NODES='1', SLURM_NODEID='0',
        SLURM_PROCID='0', SLURM_LOCALID='0', SLURM_JOB_NODELIST='here',
    )
    with open(os.devnull, 'r+') as nothing:
        for stream in (0, 1, 2):
            os.dup2(nothing.fileno(), stream)
    os.execvp('bash', ['bash', sys.argv[-1]])
print('Submitted batch job', os.read(reading, 20).decode())
"""
SRUN = """
import os, sys
rest = sys.argv[1:]
while rest[0].startswith('-'):
    rest = rest[2:] if rest[0] in ('--output', '--error') else rest[1:]
os.execvp(rest[0], rest)
"""
SACCT = """
import os, sys
print('JobID|State|NodeList')
for number in [a for a in sys.argv[1:] if a.isdigit()]:
    try:
        running = 'State:\\tZ' not in open(f'/proc/{number}/status').read()
    except FileNotFoundError:
        running = False
    print(f'{number}|{"RUNNING" if running else "COMPLETED"}|here')
"""
SQUEUE = """
import os, sys
if os.path.exists(os.path.join(HOME, 'forgotten')):
    sys.exit('slurm_load_jobs error: Invalid job id specified')
print('RUNNING')
"""
SCANCEL = """
import os, signal, sys
# Slurm signals what it has started itself, and not what that starts in its turn.
shell = sys.argv[-1]
for child in open(f'/proc/{shell}/task/{shell}/children').read().split():
    os.kill(int(child), signal.SIGTERM)
"""


def install(folder: Path) -> str:
    """Write the commands; the ``PATH`` on which they are found."""
    commands = folder / 'bin'
    commands.mkdir()
    for name, code in dict(
        sbatch=SBATCH, srun=SRUN, sacct=SACCT, squeue=SQUEUE, scancel=SCANCEL
    ).items():
        path = commands / name
        path.write_text(f'#!{sys.executable}\nHOME = {str(folder)!r}\n{code}')
        path.chmod(0o755)
    return f'{commands}{os.pathsep}{os.environ["PATH"]}'
