"""Torch's launcher of several processes, which ends as the first of them to fail did.

By itself it ends with status 1, whatever the cause.
"""

import contextlib
import os
import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from memba_vision.errors import ExitStatus


def main() -> None:
    """Run the command line of ``torchrun``."""
    try:
        run.main()
    except ChildFailedError as error:
        # In the order in which they ended: the launcher then ended the others.
        end_like(next(iter(error.failures.values())))


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
