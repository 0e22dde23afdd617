"""Tables of a report in LaTeX, with booktabs."""

from memba_vision.reports.content import Content, describe_run
from memba_vision.reports.tables import NOTHING, Cell, Table
from memba_vision.reports.text_tables import MINUS

PREAMBLE = r"""% \usepackage{booktabs,graphicx}   % what the tables need
"""
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
    """Return all tables for a document, each a ``table*`` as wide as the text."""
    lines = [PREAMBLE]
    lines += [f'% not finished: {" ".join(describe_run(run).split())}' for run in content.open_runs]
    tables = [table for section in content.sections for table in section.tables]
    return '\n'.join([*lines, *map(_table, tables)])


def _table(table: Table) -> str:
    wide = len(table.header) > 10
    header = [_turned(name) if wide and i else escape(name) for i, name in enumerate(table.header)]
    rows = [' & '.join(map(_cell, row)) + r' \\' for row in table.rows]
    lines = [
        *(f'% {" ".join(note.split())}' for note in table.notes),
        r'\begin{table*}',
        r'\centering',
        rf'\caption{{{escape(table.name)}. {escape(table.caption)}.}}',
        r'\resizebox{\textwidth}{!}{%',
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


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = rf'\textbf{{{text}}}' if cell.best else text
    text += f' ({escape(cell.remark)})' if cell.remark else ''
    return text + (rf' {{\scriptsize[{escape(cell.published)}]}}' if cell.published else '')
