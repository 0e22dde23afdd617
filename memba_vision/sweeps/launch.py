"""Torch's launcher of several processes, which ends as the first of them to fail did.

By itself it ends with status 1, whatever the cause.
"""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from memba_vision.errors import END_SIGNALS, ExitStatus


def main() -> None:
    """Run the command line of ``torchrun``."""
    for number in END_SIGNALS:  # torch's launcher passes on SIGTERM, and dies of the other
        signal.signal(number, pass_on)
    try:
        run.main()
    except SignalException:
        sys.exit(ExitStatus.TERMINATED)  # the processes have said what they saved
    except ChildFailedError as error:
        # In the order in which they ended: the launcher then ended the others.
        end_like(next(iter(error.failures.values())))


def pass_on(number: int, _: FrameType | None) -> NoReturn:
    """Have torch's launcher send a signal to its processes, wait for them, and end."""
    raise SignalException('asked to end', signal.Signals(number))


def end_like(failure: ProcessFailure) -> None:
    """End this process by the same signal as a failed one, or with the same status.

    A tool has written down its exception. One that it foresaw is in the log in plain words.
    """
    if failure.exitcode == ExitStatus.FAILED and isinstance(failure.message, dict):
        sys.stderr.write(f'error: {" ".join(failure.message["message"].split())}\n')
    if failure.exitcode < 0:
        sys.stderr.flush()
        with contextlib.suppress(OSError):  # SIGKILL knows no handlers
            signal.signal(-failure.exitcode, signal.SIG_DFL)
        os.kill(os.getpid(), -failure.exitcode)
    sys.exit(failure.exitcode)


if __name__ == '__main__':
    main()
