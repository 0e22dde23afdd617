"""Docstrings, their entries and comments start with a verb or a noun, not with a bare clause."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import TOOLS

import memba_vision

ROOT = Path(memba_vision.__file__).parent
FILES = {
    str(path.relative_to(ROOT)): path
    for path in sorted(ROOT.rglob('*.py'))
    if '.mim' not in path.parts  # the configs and tools of an installed copy
} | {str(path.relative_to(TOOLS.parent)): path for path in sorted(TOOLS.rglob('*.py'))}

#: 'What every adapter is', 'Whether it is there': clauses without a main verb. A list of words.
CLAUSE = r'what|whatever|whether|who|whose|whoever|how|why|which|those|that|all that'
#: Beginnings of docstrings that hide the main verb ('As mmengine's', 'Where images lie').
HIDDEN_VERB = r'where|wherever|when|as|it|there|from|of'
COMMENT = re.compile(rf'({CLAUSE})\b', re.IGNORECASE)
DOCSTRING = re.compile(rf'({CLAUSE}|{HIDDEN_VERB})\b|\(', re.IGNORECASE)
SECTION = re.compile(r'(Args|Returns|Yields|Attributes):$')
ENTRY = re.compile(r'[\w.`*, ]+: (.*)')  # 'name: text', in a section


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every comment; of those on consecutive lines, the first."""
    previous = -1
    with path.open('rb') as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                line, column = token.start
                if previous != line - 1 or token.line[:column].strip():
                    yield line, token.string.lstrip('#: ')
                previous = line


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def entries(docstring: str) -> Iterator[tuple[int, str]]:
    """Yield the first line of a docstring and of each entry in its sections, with its number."""
    lines = docstring.splitlines()
    yield 0, lines[0]
    in_section = is_first = False
    for number, line in enumerate(lines[1:], start=1):
        text = line.strip()
        if SECTION.match(line):
            in_section = is_first = True
        elif in_section and text:
            entry = ENTRY.match(text) if line.startswith('    ') and line[4] != ' ' else None
            if entry or is_first:
                yield number, entry[1] if entry else text
            is_first = False


def bare_clauses(path: Path) -> list[str]:
    """Return the lines of a file at which a docstring, an entry or a comment starts badly."""
    found = [(line, text) for line, text in comments(path) if COMMENT.match(text)]
    for line, docstring in docstrings(path):
        first, *others = entries(docstring)
        found += [(line, first[1])] * bool(DOCSTRING.match(first[1]))
        found += [(line + number, text) for number, text in others if COMMENT.match(text)]
        found += [(line + number, text) for number, text in others if text.startswith('where ')]
    return [f'line {line}: {text}' for line, text in sorted(found)]


@pytest.mark.parametrize('file', FILES)
def test_docstrings_and_comments_start_with_a_verb_or_a_noun(file):
    found = '\n'.join(bare_clauses(FILES[file]))
    assert not found, f'{file}: start these with a verb ("Return …") or a noun:\n{found}'


@pytest.mark.parametrize(
    ('text', 'is_bare'),
    [
        ('def f():\n    """Return the path."""\n', False),
        ('def f():\n    """What is at the path."""\n', True),
        ('def f():\n    """(batch, dim) to the same."""\n', True),
        ('def f(a):\n    """Return it.\n\n    Args:\n        a: whether to go.\n    """\n', True),
        ('def f(a):\n    """Return it.\n\n    Args:\n        a: True to go.\n    """\n', False),
        ('def f():\n    """Return it.\n\n    Returns:\n        What was there.\n    """\n', True),
        ('# What is kept.\nA = 1\n', True),
        ('# Kept, so that others\n# who come later see it.\nA = 1\n', False),
        ('A = 1  # how many\n', True),
        ('A = 1  # seconds\n', False),
    ],
)
def test_bare_clauses_are_found(tmp_path, text, is_bare):
    path = tmp_path / 'module.py'
    path.write_text(text)
    assert bool(bare_clauses(path)) is is_bare
