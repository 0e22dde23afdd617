"""End of a process of a distributed run, told to the others, so that each ends with one message."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mmengine.dist import get_rank, is_distributed
from torch import distributed
from torch.distributed.distributed_c10d import _get_default_store

from memba_vision.engine.termination import Termination
from memba_vision.errors import GO_ON, ExitStatus, Terminated, UserError

KEY = 'memba_vision/end'  # in the key-value store of the processes
PAUSE = 1.0  # seconds between two looks into the store
NEWS = 5.0  # seconds that the reason for a broken connection may take
#: Seconds that a process has to end by itself, after another has or after a signal. One that waits
#: for a GPU cannot. Torch's launcher kills after 30.
GRACE = 15.0
#: Texts of the errors of gloo, and of the store, where another process is gone.
BROKEN = ('gloo', 'Connection closed', 'Connection reset', 'Broken pipe', 'recvValue failed')


class PeerEnded(UserError):
    """Another process of the run has ended with an error; the status is its own."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.exit_status = status


class OtherFailed(Exception):
    """Another process has failed, and tells why in the store."""


class End(NamedTuple):
    """End of a process, as it told."""

    rank: int
    message: str
    status: int

    def error(self) -> PeerEnded:
        """Return the error for the others."""
        return PeerEnded(f'ended with process {self.rank} of this run: {self.message}', self.status)


@contextlib.contextmanager
def ending_together(termination: Termination, save: Callable[[], None]) -> Iterator[None]:
    """End with the first process of a distributed run that does so with an error, and tell why.

    Args:
        termination: of this process.
        save: writes what can be gone on from.

    Raises:
        PeerEnded: another process has ended with an error.
        Terminated: another process is gone.
    """
    if not is_distributed():
        yield
        return
    watch = Watch(termination, save)
    watch.start()
    try:
        with termination.watched():  # until the others have heard of it
            yield from _ending_with_others(save)
    finally:
        watch.is_over.set()


def _ending_with_others(save: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except Terminated:
        told = _told()  # the launcher's signal may come before the reason
        if told is not None and told.rank != get_rank():
            raise told.error() from None
        raise
    except Exception as error:
        _end_with(error, save)
        raise


def _end_with(error: Exception, save: Callable[[], None]) -> None:
    """Raise the error of the process that ended first, if that was another one."""
    is_broken = any(text in str(error) for text in BROKEN) or isinstance(
        error, distributed.DistError
    )
    is_own = not (is_broken or isinstance(error, OtherFailed))
    if is_own:
        _tell(error)
    with contextlib.suppress(UserError, OSError):  # the error may be that the disk is full
        save()
    if is_own:
        return
    told = _wait_for_news()
    if told is not None and told.rank != get_rank():
        raise told.error() from error
    if told is None:
        raise Terminated(
            'another process of this run is gone, without a word: was it killed, or its machine '
            'lost? Go on with --resume'
        ) from error


def _tell(error: Exception) -> None:
    status = getattr(error, 'exit_status', ExitStatus.FAILED)
    text = str(error) if isinstance(error, UserError) else f'{type(error).__name__}: {error}'
    own = End(get_rank(), ' '.join(text.split()), int(status))
    with contextlib.suppress(RuntimeError):  # the store is gone too
        _get_default_store().compare_set(KEY, '', json.dumps(own))


def _own_store() -> distributed.Store:
    """Return another connection to the store, which does not wait for those who wait in the first.

    Older versions of torch know but one.
    """
    store = _get_default_store()
    return store.clone() if hasattr(store, 'clone') else store


def _told(store: distributed.Store | None = None) -> End | None:
    """Return the first end that a process told; None without one, or without the store."""
    with contextlib.suppress(RuntimeError, ValueError):
        store = store or _get_default_store()
        if store.check([KEY]):
            return End(*json.loads(store.get(KEY)))
    return None


def _wait_for_news() -> End | None:
    deadline = time.monotonic() + NEWS
    while (told := _told()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return told


class Watch(threading.Thread):
    """Thread that ends its process where that hangs in an exchange with one that has ended."""

    def __init__(self, termination: Termination, save: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.termination, self.save = termination, save
        self.is_over = threading.Event()
        self.store = _own_store()

    def run(self) -> None:
        """Look every second until the run is over."""
        since = None
        while not self.is_over.wait(PAUSE):
            told = _told(self.store)
            if told is None and not self.termination.requested:
                continue
            since = since or time.monotonic()
            if time.monotonic() - since > GRACE:
                self._end(told)

    def _end(self, told: End | None) -> None:
        message, status = '', int(ExitStatus.TERMINATED)
        if told is None:
            self.save()
            message = f'stopped {self.termination.reason()}{GO_ON}'
        else:
            message, status = f'error: {told.error()}', told.status
        sys.stderr.write(f'{message}\n')
        sys.stderr.flush()
        os._exit(status)
