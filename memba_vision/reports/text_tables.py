"""Tables as text."""

from collections.abc import Callable, Collection, Sequence

MINUS = '\N{MINUS SIGN}'


def markdown_table(table: Sequence[Sequence[str]], numbers_from: int) -> str:
    """Return rows of cells, the first being the header, in Markdown, which escapes bars in them.

    Args:
        table: the rows, of equal length.
        numbers_from: the first column that is set flush right.
    """
    table = [[cell.replace('|', r'\|') for cell in row] for row in table]
    # A rule has three signs or more.
    widths = [max(3, *(len(row[column]) for row in table)) for column in range(len(table[0]))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column >= numbers_from else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f'| {" | ".join(padded)} |'

    rule = ['-' * (w - 1) + (':' if c >= numbers_from else '-') for c, w in enumerate(widths)]
    return '\n'.join([line(table[0]), line(rule), *map(line, table[1:])]) + '\n'


def range_text(numbers: Collection[int]) -> str:
    """Return whole numbers as text: one, or the smallest and the largest."""
    low, high = min(numbers), max(numbers)
    return f'{low:,}' if low == high else f'{low:,} to {high:,}'


def with_deviation(mean: float, deviation: float | None, number: Callable[[float], str]) -> str:
    """Return a mean as text, with its deviation if there is one.

    Args:
        mean: the mean.
        deviation: its standard deviation; None if there is none.
        number: writes either of them.
    """
    return number(mean) if deviation is None else f'{number(mean)} ± {number(deviation)}'


def signed(value: float, number: Callable[[float], str]) -> str:
    """Return a change as text, with its sign."""
    return f'{MINUS if value < 0 else "+"}{number(abs(value))}'
