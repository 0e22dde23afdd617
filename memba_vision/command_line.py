"""Frame of the command-line tools: their help, and their end with a result or one line."""

import argparse
import ast
import codecs
import difflib
import errno
import io
import os
import re
import select
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from memba_vision import __version__
from memba_vision.engine.allocator import keep_freed_memory
from memba_vision.engine.garbage import imports_kept_from_collection
from memba_vision.errors import ExitStatus, Terminated, UserError
from memba_vision.files import DISK_FULL, cannot_write
from memba_vision.registration import register_everything

#: The variable by which torch's launcher names the file for a process's exception.
ERROR_FILE = 'TORCHELASTIC_ERROR_FILE'
#: The way in which the standard output takes what its encoding does not have.
BYTES_OR_ESCAPES = 'memba_vision.bytes_or_escapes'
#: The option that makes a tool's parser come out as ParserMade.
HAND_OVER = '--hand-over-the-parser'
NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_FOLDER = (errno.EEXIST, errno.ENOTDIR)  # of what is to be in a folder whose place a file has
EXPLAINED = (*DISK_FULL, *NO_ACCESS, *NO_FOLDER)


class ParserMade(Exception):
    """A tool's parser, which was asked for in the place of what it reads."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__(parser)
        self.parser = parser


class _HandOver(argparse.Action):
    """Raises ParserMade with the parser."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> NoReturn:
        raise ParserMade(parser)


class SuggestingParser(argparse.ArgumentParser):
    """Parser that proposes what may have been meant by an unknown option or choice."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read the command line, in which no argument may be empty: it would be this folder."""
        args = sys.argv[1:] if args is None else list(args)
        if '' in args:
            self.exit(2, 'error: an argument is empty, as where a variable of the shell is unset\n')
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print usage, message and proposals, and exit with status 2."""
        super().error(f'{message}{self._proposals(message)}')

    def _proposals(self, message: str) -> str:
        choice = re.search(r"invalid choice: '?(.*?)'? \(choose from (.*)\)", message)
        if choice:
            return did_you_mean(choice[1], re.findall(r"[^\s',]+", choice[2]))
        _, _, unknown = message.partition('unrecognized arguments: ')
        options = [word.partition('=')[0] for word in unknown.split() if word.startswith('--')]
        found = (did_you_mean(option, self._option_string_actions) for option in options)
        return next(filter(None, found), '')


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question that proposes known words, '' if none is near."""
    near = difflib.get_close_matches(word, list(known), 2)
    return f' (did you mean {" or ".join(near)}?)' if near else ''


def tool_parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser whose help is a tool's docstring: a description and examples."""
    description, _, examples = doc.partition('\n\n')
    parser = SuggestingParser(
        description=description,
        epilog=f'examples:\n{textwrap.indent(examples.strip(), "  ")}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'memba_vision {__version__}')
    hidden = dict(help=argparse.SUPPRESS, default=argparse.SUPPRESS)
    parser.add_argument(HAND_OVER, action=_HandOver, nargs=0, **hidden)
    return parser


def summary_of(tool: Path) -> str:
    """Return the first line of the docstring of a tool's file."""
    return ast.get_docstring(ast.parse(tool.read_text(encoding='utf-8'))).splitlines()[0]


def run_tool(
    parse_arguments: Callable[[], argparse.Namespace],
    main: Callable[[argparse.Namespace], None],
    registers: bool = True,
) -> None:
    """Run a tool, and exit with an :class:`ExitStatus`; a user's mistake is one line on stderr.

    The package is imported as a whole, torch and mmpretrain with it, when the arguments have been
    read: help and mistakes in them are told at once. Where torch's launcher started the process,
    it is told what went wrong.

    Args:
        parse_arguments: reads the command line, and imports nothing that takes time.
        main: carries out the arguments, and imports the modules for that.
        registers: False for a tool that builds nothing, and need not wait for torch and mmpretrain.
    """
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error(BYTES_OR_ESCAPES, _as_bytes_or_escapes)
        sys.stdout.reconfigure(errors=BYTES_OR_ESCAPES)
    try:
        args = parse_arguments()
        if registers:
            prepare_process()
        _run_recorded(main, args)
        sys.stdout.flush()
    except UserError as error:
        _end(error)
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitStatus.BROKEN_PIPE)
    except OSError as error:
        _end(_as_user_error(error))
    except Terminated as end:
        sys.stderr.write(f'{end}\n')
        sys.exit(end.exit_status)
    except KeyboardInterrupt as end:
        sys.stderr.write(f'{end or "interrupted"}\n')
        sys.exit(ExitStatus.INTERRUPTED)


def _as_bytes_or_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write a file's name byte by byte, for it need not be UTF-8, and escape other letters."""
    try:
        return codecs.lookup_error('surrogateescape')(error)
    except UnicodeError:  # the output's encoding has no such letter
        return codecs.backslashreplace_errors(error)


def _run_recorded(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Run ``main``; a crash is written down for torch's launcher if that started the process."""
    try:
        main(args)
    except Exception as error:
        if os.environ.get(ERROR_FILE) and not _has_own_message(error):
            from torch.distributed.elastic.multiprocessing.errors import get_error_handler

            handler = get_error_handler()
            handler.initialize()
            handler.record_exception(error)
        raise


def _has_own_message(error: Exception) -> bool:
    """Return True for what :func:`run_tool` tells in a line."""
    is_of_the_system = isinstance(error, OSError) and error.errno in EXPLAINED
    return is_of_the_system or isinstance(error, UserError | Terminated | BrokenPipeError)


def _end(error: UserError) -> None:
    sys.stderr.write(f'error: {user_message(error)}\n')
    sys.exit(error.exit_status)


def _nobody_reads() -> bool:
    """Return True if the reader of the output has ended, as in "| head"."""
    ends = select.poll()
    ends.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in ends.poll(0))


def prepare_process() -> None:
    """Make the settings that every tool wants in its process, and import the package."""
    # Any torch.load in this process, also of a third party, refuses pickled code.
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    with imports_kept_from_collection():
        register_everything()
        from memba_vision.registry import ignore_missing_operator

    ignore_missing_operator()


def _as_user_error(error: OSError) -> UserError:
    """Explain a full disk or a missing permission; raise any other error again."""
    name = error.filename or 'a file'
    if error.errno in DISK_FULL:
        return cannot_write(name, error)
    if error.errno in NO_ACCESS:
        return UserError(
            f'no access to {name} ({error.strerror}): see to its permissions, or name another'
        )
    if error.errno in NO_FOLDER and not os.path.isdir(name):
        return UserError(f'{name}: a file has the place of a folder: name another, or move it')
    raise error


def user_message(error: UserError) -> str:
    """Return the text of ``error`` in one line.

    A data loader's worker sends its exception as text with a traceback in it.
    """
    return ' '.join(str(error).rsplit('UserError: ', 1)[-1].split())
