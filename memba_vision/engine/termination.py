"""Noticing that a run is to end: SIGTERM, as a cluster sends it before it takes a node away."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Termination:
    """Whether SIGTERM arrived.

    Attributes:
        requested: set by the signal; the run looks at it between two steps.
    """

    def __init__(self) -> None:
        self.requested = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Note the signal instead of dying of it; a second one kills as usual."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python allows handlers in the main thread alone
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, *_: object) -> None:
        self.requested = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
