"""Handler of the signals that a cluster sends before it takes a node away."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

from memba_vision.errors import END_SIGNALS

#: Seconds in which a signal may come again by another way: where a whole machine goes down, the
#: launcher, the sweep and its supervisor each pass on what this process has had already.
ECHO = 5.0


class Termination:
    """State of a run's termination by one of ``END_SIGNALS``.

    Attributes:
        signal: the number of the signal, 0 before one has come.
        failure: the error of a process that fails together with the others, None without one.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.failure: Exception | None = None
        self.since = 0.0

    @property
    def requested(self) -> bool:
        """Return True after the signal; the run looks at it between two steps."""
        return bool(self.signal)

    def reason(self) -> str:
        """Return the words for the signal that goes with 'stopped'."""
        return END_SIGNALS[signal.Signals(self.signal)]

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Record the signal in the context instead of dying; a later one kills as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python allows handlers in the main thread alone
            return
        before = {number: signal.getsignal(number) for number in (*END_SIGNALS, signal.SIGCHLD)}
        for number in END_SIGNALS:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number in END_SIGNALS:
                signal.signal(number, before[number])
            if self.requested:
                signal.signal(signal.SIGCHLD, before[signal.SIGCHLD])

    def _note(self, number: int, *_: object) -> None:
        if self.requested:
            if time.monotonic() - self.since > ECHO:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self.signal, self.since = number, time.monotonic()
        # Where the processes that load data got the signal too, torch's answer to their deaths is
        # an exception wherever this process is: in the middle of saving, say.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
