"""States of jobs in Slurm, asked for all of them at once."""

import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: States in which a job waits, runs, or is about to do so again. A state that is not among them,
#: nor among ``ENDED``, is one that this file does not know: the job is waited for.
ENDED = {
    'BOOT_FAIL': 'its node did not boot',
    'CANCELLED': 'was cancelled',
    'COMPLETED': '',
    'DEADLINE': 'did not begin before its deadline',
    'FAILED': 'its job failed',
    'NODE_FAIL': 'its node failed',
    'OUT_OF_MEMORY': 'ran out of memory: ask for more, as with --slurm-options mem_gb=32',
    'PREEMPTED': 'was pre-empted by another job',
    'TIMEOUT': 'reached its time limit: --slurm-options timeout_min=… sets another',
}
GONE = 'GONE'  # of a job that Slurm does not know, or no longer
UNKNOWN = 'UNKNOWN'  # of a job that Slurm has not been asked for, or when it does not answer
PAUSE = 10.0  # seconds between two questions
PAUSE_HURRIED = 1.0  # the same where a job's folder says that it has ended
TIMEOUT = 60.0  # seconds to wait for an answer
MANY = 500  # jobs in one command line


class JobState(NamedTuple):
    """State of a job.

    Attributes:
        name: Slurm's word for it, or one of ``GONE`` and ``UNKNOWN``.
        host: the node that it runs on; '' while it waits.
        reason: Slurm's reason for letting it wait, as 'Priority' or 'QOSMaxJobsPerUserLimit'.
    """

    name: str = UNKNOWN
    host: str = ''
    reason: str = ''

    @property
    def has_ended(self) -> bool:
        """Return True if the job neither waits nor runs."""
        return self.name in ENDED or self.name == GONE


class SlurmQueue:
    """This user's jobs: one call of ``squeue`` for all, and one of ``sacct`` for those it lacks."""

    def __init__(self) -> None:
        self.followed: set[str] = set()
        self.states: dict[str, JobState] = {}
        self.asked = float('-inf')

    def follow(self, numbers: Iterable[str]) -> None:
        """Ask for further jobs from now on."""
        self.followed |= set(numbers)

    def state(self, number: str, hurried: bool = False) -> JobState:
        """Return the state of a job that is followed, which may be ``PAUSE`` seconds old.

        Args:
            number: of the job, '12' or '12_3' for one of an array.
            hurried: let it be ``PAUSE_HURRIED`` seconds old at most.
        """
        known = self.states.get(number, JobState())
        if known.has_ended:
            return known
        if time.monotonic() - self.asked >= (PAUSE_HURRIED if hurried else PAUSE):
            self.ask()
        return self.states.get(number, JobState())

    def ask(self) -> None:
        """Ask Slurm for the states of all jobs that are followed and have not ended."""
        if not self.followed:
            return
        listed = in_queue()
        self.asked = time.monotonic()
        if listed is None:
            return  # Slurm's controller does not answer: all is as it was
        open_ones = {n for n in self.followed if not self.states.get(n, JobState()).has_ended}
        past = in_accounting(sorted(open_ones - listed.keys()))
        for number in open_ones:
            self.states[number] = listed.get(number) or past.get(number) or JobState(GONE)


def in_queue() -> dict[str, JobState] | None:
    """Return this user's jobs that wait, run or have just ended; None if Slurm does not answer."""
    form = '%i|%T|%N|%r'
    answer = _answer('squeue', '--me', '--array', '--noheader', '--states=all', '--format', form)
    if answer is None:
        return None
    rows = [line.strip().split('|', 3) for line in answer.splitlines()]
    return {row[0]: JobState(row[1], *row[2:]) for row in rows if len(row) == 4}


def in_accounting(numbers: list[str]) -> dict[str, JobState]:
    """Return the last states of jobs that have left the queue, where Slurm keeps account."""
    found: dict[str, JobState] = {}
    for part in _parts(numbers):
        options = ('--noheader', '--parsable2', '--allocations', '--format', 'JobID,State,NodeList')
        answer = _answer('sacct', *options, '--jobs', ','.join(part))
        rows = [line.strip().split('|', 2) for line in (answer or '').splitlines()]
        # 'CANCELLED by 1000' has the user's number.
        found |= {row[0]: JobState(row[1].split()[0], row[2]) for row in rows if len(row) == 3}
    return found


def cancel(numbers: list[str]) -> None:
    """Ask jobs to end: those that run get SIGTERM, and are killed half a minute later."""
    for part in _parts(numbers):
        _answer('scancel', *part)


def _parts(numbers: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(numbers), MANY):
        yield numbers[begin : begin + MANY]


def _answer(*command: str) -> str | None:
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout if run.returncode == 0 else None
