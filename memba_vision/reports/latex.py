"""Tables of a report in LaTeX, with booktabs."""

import re
from textwrap import wrap

from memba_vision.reports.content import Content
from memba_vision.reports.tables import NOTHING, Cell, Table
from memba_vision.reports.text_tables import MINUS

PREAMBLE = r"""% \usepackage{booktabs,graphicx}   % what the tables need
% \ref{tab:...} by the labels below. A table that is wider than the text is made as wide as it.
"""
#: A table that fits is as large as the text around; graphicx knows its natural width.
FITTED = r'\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%'
HEADING = 12  # letters of a line of a column's heading
SPECIAL = {
    '\\': r'\textbackslash{}',
    '&': r'\&',
    '%': r'\%',
    '$': r'\$',
    '#': r'\#',
    '_': r'\_',
    '{': r'\{',
    '}': r'\}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    '±': r'$\pm$',
    NOTHING: '--',
    MINUS: '$-$',
}


def escape(text: str) -> str:
    """Escape a text for LaTeX. Characters of other scripts are for the document to declare."""
    return ''.join(SPECIAL.get(character, character) for character in ' '.join(text.split()))


def as_latex(content: Content) -> str:
    """Return all tables for a document, each a ``table*`` in the size of the text if it fits."""
    lines = [PREAMBLE]
    lines += [f'% {line}' for line in content.open_lines()]
    tables = [table for section in content.sections for table in section.tables]
    return '\n'.join([*lines, *map(_table, tables)])


def _table(table: Table) -> str:
    wide = len(table.header) > 10
    turn = _turned if wide else _stacked
    header = [escape(table.header[0]), *map(turn, table.header[1:])]
    rows = [' & '.join(map(_cell, row)) + r' \\' for row in table.rows]
    label = re.sub('[^a-z0-9]+', '-', table.name.lower()).strip('-')
    lines = [
        *(f'% {" ".join(note.split())}' for note in table.notes),
        r'\begin{table*}',
        r'\centering',
        rf'\caption{{{escape(table.name)}. {escape(table.caption)}.}}',
        rf'\label{{tab:{label}}}',
        FITTED,
        rf'\begin{{tabular}}{{l{"r" * (len(table.header) - 1)}}}',
        r'\toprule',
        ' & '.join(header) + r' \\',
        r'\midrule',
        *rows,
        r'\bottomrule',
        r'\end{tabular}}',
        r'\end{table*}',
        '',
    ]
    return '\n'.join(lines)


def _turned(text: str) -> str:
    return rf'\rotatebox{{90}}{{{escape(text)}}}'


def _stacked(text: str) -> str:
    lines = [escape(line) for line in wrap(text, HEADING)]
    stack = r' \\ '.join(lines)
    return stack if len(lines) == 1 else rf'\shortstack[r]{{{stack}}}'


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = rf'\textbf{{{text}}}' if cell.best else text
    text += f' ({escape(cell.remark)})' if cell.remark else ''
    return text + (rf' {{\scriptsize[{escape(cell.published)}]}}' if cell.published else '')
