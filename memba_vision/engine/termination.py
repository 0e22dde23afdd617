"""Handler of SIGTERM, which a cluster sends before it takes a node away."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

#: Seconds in which a signal may come again by another way: where a whole machine goes down, the
#: launcher, the sweep and its supervisor each pass on what this process has had already.
ECHO = 5.0


class Termination:
    """State of a run's termination by SIGTERM.

    Attributes:
        requested: set by the signal; the run looks at it between two steps.
    """

    def __init__(self) -> None:
        self.requested = False
        self.since = 0.0

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Record the signal in the context instead of dying; a later one kills as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python allows handlers in the main thread alone
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGCHLD)}
        signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before[signal.SIGTERM])
            if self.requested:
                signal.signal(signal.SIGCHLD, before[signal.SIGCHLD])

    def _note(self, *_: object) -> None:
        if self.requested:
            if time.monotonic() - self.since > ECHO:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTERM)
            return
        self.requested, self.since = True, time.monotonic()
        # Where the processes that load data got the signal too, torch's answer to their deaths is
        # an exception wherever this process is: in the middle of saving, say.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
