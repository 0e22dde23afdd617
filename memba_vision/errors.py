"""The error that is the user's to mend."""


class UserError(ValueError):
    """A mistake in a config, a file or an argument, told in one line.

    The message says what was expected, what was found and what to do. The command-line tools
    print it without a traceback and exit with status 2; as a ``ValueError`` it behaves like any
    other exception in a notebook or a test.
    """


class DiskFull(UserError):
    """Nothing more can be written where it has to go."""


class Terminated(Exception):
    """The run was asked to end (SIGTERM) and did, after it saved what it had.

    The command-line tools exit with status 143 (128 + 15).
    """
