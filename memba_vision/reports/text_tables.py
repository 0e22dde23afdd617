"""Tables as text."""

import csv
import io
from collections.abc import Sequence


def markdown_table(table: Sequence[Sequence[str]], numbers_from: int) -> str:
    """Rows of cells, the first being the header, in Markdown.

    Args:
        table: the rows, of equal length.
        numbers_from: the first column that is set flush right.
    """
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column >= numbers_from else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f'| {" | ".join(padded)} |'

    rule = ['-' * (w - 1) + (':' if c >= numbers_from else '-') for c, w in enumerate(widths)]
    return '\n'.join([line(table[0]), line(rule), *map(line, table[1:])]) + '\n'


def csv_table(table: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first being the header, as comma-separated values."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(table)
    return text.getvalue()
