"""How a command-line tool begins, with its help, and ends: with a result, or with one line on what
the user can do.
"""

import argparse
import errno
import io
import os
import select
import sys
import textwrap
from collections.abc import Callable

from memba_vision.engine.allocator import keep_freed_memory
from memba_vision.errors import Terminated, UserError
from memba_vision.files import DISK_FULL, cannot_write
from memba_vision.registration import register_everything

USER_ERROR_STATUS = 2
NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
BROKEN_PIPE_STATUS = 141  # 128 + SIGPIPE
TERMINATED_STATUS = 143  # 128 + SIGTERM: the work is saved, start again with --resume


def tool_parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is made of a tool's docstring: a line on what it does, and examples."""
    what, _, examples = doc.partition('\n\n')
    return argparse.ArgumentParser(
        description=what,
        epilog=f'examples:\n{textwrap.indent(examples.strip(), "  ")}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_tool(
    parse_arguments: Callable[[], argparse.Namespace], main: Callable[[argparse.Namespace], None]
) -> None:
    """Run a tool; a user's mistake ends in one line on stderr and exit status 2.

    The package is imported as a whole, torch and mmpretrain with it, when the arguments have been
    read: help and mistakes in them are told at once. A run that SIGTERM ended exits with status
    143, one that the keyboard ended with 130.

    Args:
        parse_arguments: reads the command line; it imports nothing that takes time.
        main: does what they say; it imports what that takes.
    """
    keep_freed_memory()
    # A file's name need not be UTF-8; it is written byte by byte.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == 'strict':
        sys.stdout.reconfigure(errors='surrogateescape')
    try:
        args = parse_arguments()
        prepare_process()
        main(args)
        sys.stdout.flush()
    except UserError as error:
        sys.stderr.write(f'error: {user_message(error)}\n')
        sys.exit(USER_ERROR_STATUS)
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE_STATUS)
    except OSError as error:
        sys.stderr.write(f'error: {_system_message(error)}\n')
        sys.exit(USER_ERROR_STATUS)
    except Terminated as end:
        sys.stderr.write(f'{end}\n')
        sys.exit(TERMINATED_STATUS)
    except KeyboardInterrupt:
        sys.stderr.write('interrupted\n')
        sys.exit(130)


def _nobody_reads() -> bool:
    """True where the terminal was a program that ended, as in "| head"."""
    ends = select.poll()
    ends.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in ends.poll(0))


def prepare_process() -> None:
    """Make the settings that every tool wants in its process, and import the package."""
    # Any torch.load in this process, also of a third party, refuses pickled code.
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    register_everything()
    from memba_vision.registry import ignore_missing_operator

    ignore_missing_operator()


def _system_message(error: OSError) -> str:
    """One line on a full disk or a missing permission; any other error is raised again."""
    name = error.filename or 'a file'
    if error.errno in DISK_FULL:
        return str(cannot_write(name, error))
    if error.errno in NO_ACCESS:
        return f'no access to {name} ({error.strerror}): see to its permissions, or name another'
    raise error


def user_message(error: UserError) -> str:
    """The text of ``error``, in one line.

    A data loader's worker sends its exception as text with a traceback in it.
    """
    return ' '.join(str(error).rsplit('UserError: ', 1)[-1].split())
