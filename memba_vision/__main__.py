"""Command line ``memba-vision TOOL …`` or ``python -m memba_vision TOOL …``, without a checkout."""

import difflib
import runpy
import sys
from pathlib import Path
from typing import NoReturn

from memba_vision import __version__
from memba_vision.command_line import summary_of
from memba_vision.errors import UserError
from memba_vision.package_data import package_data_folder


def main() -> None:
    """Run the tool that the command line names, with the arguments after its name.

    Without a tool's name, list the tools and exit with status 2, or 0 where help was asked for.
    Of an unknown name, say which is near.
    """
    folder = package_data_folder() / 'tools'
    tools = {path.stem: path for path in sorted(folder.glob('*.py'))}
    sys.path.insert(0, str(folder))  # as where Python runs a file in it
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name == '--version':
        sys.stdout.write(f'memba_vision {__version__}\n')
        sys.exit(0)
    if name.startswith('--print-completion'):
        _print_completion(tools)
    if name not in tools:
        asked_for = name in ('-h', '--help')
        (sys.stdout if asked_for else sys.stderr).write(_usage(tools))
        if name and not asked_for:
            near = difflib.get_close_matches(name.replace('-', '_'), tools, 2)
            meant = f': did you mean {" or ".join(near)}?' if near else ''
            sys.stderr.write(f'error: there is no tool {name}{meant}\n')
        sys.exit(0 if asked_for else 2)
    sys.argv = [str(tools[name]), *sys.argv[2:]]
    runpy.run_path(str(tools[name]), run_name='__main__')


def _usage(tools: dict[str, Path]) -> str:
    lines = [f'  {name:<16} {summary_of(path)}' for name, path in tools.items()]
    return '\n'.join(['usage: memba-vision TOOL …', '', *lines, ''])


def _print_completion(tools: dict[str, Path]) -> NoReturn:
    """Print the script of the shell that the command line names, and exit."""
    from memba_vision.completion import completion_script

    _, _, shell = ' '.join(sys.argv[1:3]).replace('=', ' ').partition(' ')
    try:
        sys.stdout.write(f'{completion_script(tools, shell)}\n')
    except UserError as error:
        sys.stderr.write(f'error: {error}\n')
        sys.exit(2)
    sys.exit(0)


if __name__ == '__main__':
    main()
