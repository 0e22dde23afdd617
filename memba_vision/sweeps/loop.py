"""Loop of a sweep: it starts runs that wait, watches those that run, and notes their ends."""

import contextlib
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from memba_vision.errors import END_SIGNALS, ExitStatus, Terminated, UserError
from memba_vision.sweeps.console import Console, Row
from memba_vision.sweeps.executors import Attempt, Ended, Executor
from memba_vision.sweeps.jobs import Job
from memba_vision.sweeps.progress import read_progress, saved_step
from memba_vision.sweeps.status import Status, run_status

PAUSE = 0.3  # seconds between two looks at the runs
PAUSE_ELSEWHERE = 2.0  # seconds between two looks at the runs of other sweeps
PAUSE_REFUSED = 60.0  # seconds after the executor has refused a run
PAUSE_RETRY = 5.0  # seconds before the second retry of a run, and twice that before each further
MOST_DOUBLED = 6  # times, so that no pause is longer than five minutes
GRACE = 60.0  # seconds that runs have to save when the sweep is interrupted


@dataclass(frozen=True)
class Policy:
    """Treatment of runs that did not finish.

    Attributes:
        retries: number of times that a run is started again after it was killed or its node lost,
            without those tries that left a further checkpoint.
        retry_failed: start runs again that failed in an earlier sweep.
    """

    retries: int = 2
    retry_failed: bool = False


class Sweep:
    """Scheduler that brings every run to its end.

    Args:
        jobs: the runs, entered into the sweep's folder.
        executor: starts the runs.
        console: displays events and states.
        policy: treatment of runs that did not finish.
    """

    def __init__(
        self, jobs: Sequence[Job], executor: Executor, console: Console, policy: Policy
    ) -> None:
        self.executor, self.console, self.policy = executor, console, policy
        self.rows: dict[str, Row] = {}
        self.waiting: deque[Job] = deque()
        self.going: dict[str, Attempt] = {}
        self.queued: set[str] = set()  # names of tries that wait in the executor's queue
        self.not_before: dict[str, float] = {}  # when a run may be tried again
        self.elsewhere: dict[str, Ended] = {}  # held by others, with the end of our own try
        self.retries: dict[str, int] = {}
        self.saved: dict[str, int] = {}  # the step of the newest checkpoint before a try
        self.before: dict[str, Status] = {}  # state of a run's folder when a try began
        self.full_disk = ''  # the error of a run that found the disk full
        self.looked_elsewhere = 0.0
        self.refused_until = 0.0
        for job in jobs:
            self._look(job)

    def run(self) -> list[Row]:
        """Run until nothing is left to do, and return the final state of every run.

        Raises:
            UserError: the executor takes no run at all.
            KeyboardInterrupt: Ctrl-C; the runs were asked to save and have ended.
            Terminated: the same by SIGTERM, or before a time limit of the sweep itself.
        """
        with _terminated_by_signals():
            try:
                self._sort()
                while self._has_work():
                    self._start()
                    self._watch()
                    self._watch_elsewhere()
                    self.console.show(list(self.rows.values()))
                    if self._has_work():
                        time.sleep(PAUSE)
            except (KeyboardInterrupt, Terminated):
                self._stop_all()
                raise
            finally:
                self.console.show(list(self.rows.values()))
                self.console.close()
        return list(self.rows.values())

    def _has_work(self) -> bool:
        return bool(self.waiting or self.going or self.elsewhere)

    def _sort(self) -> None:
        """Sort runs into finished, left by an earlier sweep, running elsewhere, failed, waiting."""
        self._adopt([r.job for r in self.rows.values() if r.status.state != 'finished'])
        for name, row in self.rows.items():
            state = row.status.state
            if state == 'finished' or name in self.going:
                continue
            if state == 'running':
                self.elsewhere[name] = Ended(0)
                self.console.event(row, 'is run by another sweep: waiting for it')
            elif state != 'failed' or self.policy.retry_failed:
                self.waiting.append(row.job)
            else:
                self.console.event(row, f'failed before: {row.status.message}')
        self.console.begin(list(self.rows.values()))

    def _adopt(self, jobs: list[Job]) -> None:
        for name, attempt in self.executor.adopt(jobs).items():
            self.going[name] = attempt
            if attempt.place() is None:
                self.queued.add(name)
            self._note_before(self.rows[name])
            self.console.event(self.rows[name], 'is still with the executor: waiting for it')

    def _start(self) -> None:
        while jobs := self._next():
            try:
                attempts = self.executor.start_all(jobs)
            except UserError as error:
                if not self.going:  # no run will end and make room
                    raise
                self._wait_for_room(jobs, error)
                return
            self.waiting.extendleft(reversed(jobs[len(attempts) :]))
            for job, attempt in zip(jobs, attempts, strict=False):
                self._note_start(self.rows[job.name], attempt)

    def _next(self) -> list[Job]:
        """Take as many runs from those that wait as the executor has room for."""
        now = time.monotonic()
        is_time = now >= self.refused_until and any(self._may_start(job) for job in self.waiting)
        room = self.executor.room() if is_time else 0
        jobs: list[Job] = []
        for job in list(self.waiting) if room else ():
            if len(jobs) == room:
                break
            if self._may_start(job):
                self.waiting.remove(job)
                row = self._look(job)
                if row.status.state == 'finished':  # another sweep did it in the meantime
                    self.console.event(row, 'finished')
                else:
                    self._note_before(row)
                    jobs.append(job)
        return jobs

    def _note_before(self, row: Row) -> None:
        self.saved[row.job.name] = saved_step(row.job)
        self.before[row.job.name] = row.status

    def _may_start(self, job: Job) -> bool:
        return time.monotonic() >= self.not_before.get(job.name, 0.0)

    def _note_start(self, row: Row, attempt: Attempt) -> None:
        name = row.job.name
        self.going[name] = attempt
        if attempt.place() is None:
            self.queued.add(name)
            self.console.event(row, 'submitted')
            return
        self.rows[name] = replace(row, status=replace(row.status, state='running'))
        self.console.event(self.rows[name], 'started')

    def _wait_for_room(self, jobs: Sequence[Job], refusal: UserError) -> None:
        self.waiting.extendleft(reversed(jobs))
        self.refused_until = time.monotonic() + PAUSE_REFUSED
        self.console.event(self.rows[jobs[0].name], f'waits: {refusal}')

    def _watch(self) -> None:
        for name, attempt in list(self.going.items()):
            ended = attempt.poll()
            job = self.rows[name].job
            if ended is not None:
                del self.going[name]
                self.queued.discard(name)
                self._settle(job, ended)
            elif name not in self.queued:
                self._look(job)
            elif (host := attempt.place()) is not None:
                self.queued.discard(name)
                self.console.event(self._look(job), f'runs on {host}')

    def _look(self, job: Job) -> Row:
        progress = read_progress(job.folder, job.length())
        row = Row(job, run_status(job.folder), progress)
        self.rows[job.name] = row
        return row

    def _settle(self, job: Job, ended: Ended) -> None:
        row = self._look(job)
        state = row.status.state
        if state == 'running' or ended.status == ExitStatus.BUSY:
            # Another sweep was quicker, or the killed run is still saving.
            self.elsewhere[job.name] = replace(ended, status=0)
            self.console.event(row, 'is held by other processes: waiting for them')
        elif row.status == self.before.get(job.name) and ended.status != ExitStatus.DISK_FULL:
            self._try_again(row, ended)  # it was lost before it began
        elif state == 'finished':
            self.console.event(row, 'finished')
        elif ExitStatus.DISK_FULL in (ended.status, row.status.exit_status):
            self._note_full_disk(row)
        elif state == 'failed':
            self.console.event(row, f'failed: {row.status.message}')
        else:
            self._try_again(row, ended)

    def _try_again(self, row: Row, ended: Ended) -> None:
        job = row.job
        noted = '' if row.status == self.before.get(job.name) else row.status.message
        message = ended.message or noted or 'ended before it began'
        row = self.rows[job.name] = replace(
            row, status=replace(row.status, state='stopped', message=message)
        )
        used = self.retries.get(job.name, 0)
        is_further = saved_step(job) > self.saved.get(job.name, float('inf'))
        may_go_on = is_further or used < self.policy.retries
        if ended.is_cancelled or self.full_disk or not may_go_on:
            self.console.event(row, f'stopped: {message}')
            return
        self.retries[job.name] = used + (not is_further)
        if used and not is_further:  # a second failure may need some time to mend
            pause = PAUSE_RETRY * 2 ** min(used - 1, MOST_DOUBLED)
            self.not_before[job.name] = time.monotonic() + pause
        self.waiting.appendleft(job)
        self.console.event(row, f'{message}; going on from its last checkpoint')

    def _note_full_disk(self, row: Row) -> None:
        self.full_disk = row.status.message or f'cannot write to {row.job.folder}: free some space'
        self.console.event(row, f'stopped: {self.full_disk}')
        self.waiting.clear()  # they would find it full too

    def _watch_elsewhere(self) -> None:
        if time.monotonic() - self.looked_elsewhere < PAUSE_ELSEWHERE:
            return
        self.looked_elsewhere = time.monotonic()
        for name, ended in list(self.elsewhere.items()):
            job = self.rows[name].job
            row = self._look(job)
            if row.status.state == 'running':
                continue
            del self.elsewhere[name]
            if row.status.state == 'waiting':  # the other sweep has ended before this run
                if not self.full_disk:
                    self.waiting.append(job)
            else:
                self._settle(job, ended)

    def _stop_all(self) -> None:
        """Ask all runs to save and end. After ``GRACE`` or a second Ctrl-C, end them at once."""
        self.console.say(f'stopping {len(self.going)} runs: they save what they have')
        self.executor.stop(list(self.going.values()))
        try:
            self._await_ends(GRACE)
        except (KeyboardInterrupt, Terminated):
            self.console.say('ending them at once')
        self.executor.stop(list(self.going.values()), at_once=True)

    def _await_ends(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.going and time.monotonic() < deadline:
            for name, attempt in list(self.going.items()):
                if attempt.poll() is not None:
                    del self.going[name]
                    self._look(self.rows[name].job)
            time.sleep(0.1)


@contextlib.contextmanager
def _terminated_by_signals() -> Iterator[None]:
    def terminate(number: int, *_: object) -> None:
        reason = END_SIGNALS[signal.Signals(number)]
        raise Terminated(f'stopped {reason}: the same command goes on')

    before = {number: signal.signal(number, terminate) for number in END_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
