"""The ``pip`` of a page's commands: nothing is installed, but what is asked for must be known.

An extra must be one of ``setup.py``, a package one that is named there.
"""

import re
import sys
from pathlib import Path

EXTRA = re.compile(r'(?:\.|memba_vision)\[([\w,]+)\]')


def unknown(arguments: list[str], setup: str) -> list[str]:
    """What ``pip ARGUMENTS`` asks for and the text of ``setup.py`` does not have."""
    table = re.search(r'^EXTRAS = \{(.*?)^\}', setup, re.MULTILINE | re.DOTALL)[1]
    extras = {*re.findall(r"^    '(\w+)':", table, re.MULTILINE), 'test'}
    packages = {'.', *re.findall(r"'([A-Za-z][\w-]*)(?=['>])", setup)}
    wrong = []
    for argument in arguments:
        match = EXTRA.fullmatch(argument)
        asked = match[1].split(',') if match else [argument]
        wrong += [name for name in asked if name not in (extras if match else packages)]
    return wrong


if __name__ == '__main__':
    command, *arguments = sys.argv[1:]
    asked = [argument for argument in arguments if not argument.startswith('-')]
    if command == 'install' and (wrong := unknown(asked, Path('setup.py').read_text())):
        sys.exit(f'setup.py knows nothing of {", ".join(wrong)}')
