"""Errors that end a run, and the exit statuses by which other programs can tell them apart.

The file imports nothing of the package: the supervisor of a run in a sweep reads it alone.
"""

import signal
from enum import IntEnum
from typing import ClassVar


class ExitStatus(IntEnum):
    """Exit statuses of the tools: those of ``sysexits.h``, and 128 and its number for a signal."""

    FINISHED = 0
    FAILED = 1  # an error that nobody foresaw, told by a traceback
    USER_ERROR = 2  # a mistake, told in one line; argparse exits with the same
    DISK_FULL = 74  # free some space, then start again with --resume
    BUSY = 75  # other processes are at work in the run's folder
    INTERRUPTED = 130  # SIGINT
    BROKEN_PIPE = 141  # SIGPIPE: the program that read the output has ended
    TERMINATED = 143  # SIGTERM or a time limit: the work is saved, start again with --resume


#: Signals that ask a program to save and end, with the words for it. SIGUSR2 is what submitit has
#: Slurm send to every process of a job before its time is up.
END_SIGNALS = {signal.SIGTERM: 'by SIGTERM', signal.SIGUSR2: 'at its time limit (SIGUSR2)'}


#: Advice at the end of what a training tells that was ended early.
GO_ON = ': go on with --resume'


class UserError(ValueError):
    """A mistake in a config, a file or an argument, told in one line.

    The message says what was expected, what was found and what to do. The command-line tools
    print it without a traceback and exit with ``exit_status``; as a ``ValueError`` it behaves like
    any other exception in a notebook or a test.
    """

    exit_status: ClassVar[ExitStatus] = ExitStatus.USER_ERROR


class DiskFull(UserError):
    """Nothing more can be written where it has to go."""

    exit_status = ExitStatus.DISK_FULL


class Terminated(Exception):
    """The run was asked to end by one of ``END_SIGNALS`` and did, after it saved what it had."""

    exit_status: ClassVar[ExitStatus] = ExitStatus.TERMINATED
