"""The fenced blocks of a Markdown page, and what the page says about running them.

Blocks in ``bash``, ``console`` or no language at all hold commands, those in ``python`` code. A
comment right before a block changes what is done with it::

    <!-- not run: REASON -->      it is not run
    <!-- run with: ARGUMENTS -->  its ``python tools/…`` commands get these arguments too

A Python block whose first line is a comment with a path, ``# configs/mine.py``, is a file: it is
written to that path, not run.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

SHELL, CONSOLE, PYTHON = ('bash', ''), 'console', 'python'
ILLUSTRATIONS = ('text', 'json', 'yaml', 'toml', 'bibtex')
FENCE = re.compile(
    r'^(?P<indent> *)(?P<fence>`{3,})(?P<language>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=fence) *$',
    re.MULTILINE | re.DOTALL,
)
COMMENT = re.compile(r'<!--\s*(?P<text>(?:(?!-->).)*?)\s*-->\s*\Z', re.DOTALL)
MARKER = re.compile(r'(?P<kind>not run|run with):\s*(?P<text>.*)', re.DOTALL)
FILE = re.compile(r'# (?P<path>[\w./-]+\.\w+)\n')
PROMPT = '$ '


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        page: path of the page.
        line: of the page, where the block's text begins.
        language: as the fence names it, '' where it names none.
        text: what stands in the block.
        reason: why it is not run, or None.
        arguments: what its tools get too.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None = None
    arguments: str = ''

    def __str__(self) -> str:
        return f'{self.page.name}:{self.line}'

    @property
    def is_directive(self) -> bool:
        """Whether it is one of MyST's, such as ``{toctree}``."""
        return self.language.startswith('{')

    @property
    def is_shell(self) -> bool:
        """Whether it holds commands."""
        return self.language in (*SHELL, CONSOLE)

    @property
    def is_known(self) -> bool:
        """Whether its language is one that this module knows."""
        return self.is_shell or self.language in (PYTHON, *ILLUSTRATIONS) or self.is_directive

    @property
    def runs(self) -> bool:
        """Whether there is something to do."""
        return self.reason is None and (self.is_shell or self.language == PYTHON)

    @property
    def file(self) -> str | None:
        """The path that a Python block is to be written to, if it is a file."""
        match = FILE.match(self.text) if self.language == PYTHON else None
        return match['path'] if match else None

    @property
    def commands(self) -> str:
        """A shell block's commands: of ``console``, what stands behind the prompts."""
        if self.language != CONSOLE:
            return self.text
        typed, goes_on = [], False
        for line in self.text.splitlines():
            if goes_on or line.startswith(PROMPT):
                typed.append(line if goes_on else line.removeprefix(PROMPT))
                goes_on = line.endswith('\\')
        return '\n'.join(typed) + '\n'


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, from top to bottom."""
    text = page.read_text(encoding='utf-8')
    return [_block(page, text, match) for match in FENCE.finditer(text)]


def _block(page: Path, text: str, match: re.Match) -> Block:
    line = text.count('\n', 0, match.start('body')) + 1
    language = match['language'].strip()
    said = _marker(text[: match.start()])
    return Block(page, line, language, dedent(match['body']), **said)


def _marker(before: str) -> dict[str, str]:
    comment = COMMENT.search(before)
    marker = MARKER.fullmatch(comment['text']) if comment else None
    if marker is None:
        return {}
    said = ' '.join(marker['text'].split())
    return {'reason' if marker['kind'] == 'not run' else 'arguments': said}
