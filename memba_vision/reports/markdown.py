"""A report's tables in Markdown."""

from memba_vision.reports.content import Content, describe_run
from memba_vision.reports.tables import Cell, Table
from memba_vision.reports.text_tables import markdown_table


def as_markdown(content: Content) -> str:
    """The whole report but its figures."""
    lines = [f'# {content.title}', '', content.summary(), '']
    if content.open_runs:
        lines += ['## Not finished', '', *(f'* {describe_run(r)}' for r in content.open_runs), '']
    for section in content.sections:
        for table in section.tables:
            lines += [f'## {table.name}', '', table.caption + '.', '', _table(table)]
    lines += ['## How to read it', '', *(f'* {note}' for note in content.notes), '']
    return '\n'.join(lines)


def _table(table: Table) -> str:
    rows = [table.header, *([_cell(cell) for cell in row] for row in table.rows)]
    return markdown_table(rows, numbers_from=1)


def _cell(cell: Cell) -> str:
    text = f'**{cell.text}**' if cell.best else cell.text
    text += f' ({cell.remark})' if cell.remark else ''
    text += f' [{cell.published}]' if cell.published else ''
    return text.replace('|', '\\|')
