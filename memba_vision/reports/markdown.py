"""Tables of a report in Markdown."""

from memba_vision.reports.content import Content, describe_run
from memba_vision.reports.tables import Cell, Table
from memba_vision.reports.text_tables import markdown_table


def as_markdown(content: Content) -> str:
    """Return the whole report without its figures."""
    lines = [f'# {content.title}', '', content.summary(), '']
    for section in content.sections:
        for table in section.tables:
            lines += [f'## {table.name}', '', table_text(table)]
    if content.open_runs:
        listed = [f'* {describe_run(run)}' for run in content.open_runs]
        lines += ['## Not finished', '', f'{content.open_summary()}.', '', *listed, '']
    lines += [
        '## How to read it',
        '',
        *(f'* {note}' for note in (*content.notes, *content.remarks)),
        '',
    ]
    return '\n'.join(lines)


def table_text(table: Table) -> str:
    """Return a table with its caption and its notes."""
    rows = [table.header, *([_cell(cell) for cell in row] for row in table.rows)]
    lines = [f'{table.caption}.', '', markdown_table(rows, numbers_from=1)]
    lines += [*(f'* {note}.' for note in table.notes), *([''] if table.notes else [])]
    return '\n'.join(lines)


def _cell(cell: Cell) -> str:
    text = f'**{cell.text}**' if cell.best else cell.text
    text += f' ({cell.remark})' if cell.remark else ''
    text += f' [{cell.published}]' if cell.published else ''
    return text
