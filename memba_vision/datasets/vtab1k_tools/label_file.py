"""Read paths and labels out of a csv, as spreadsheets and scripts write them."""

import codecs
import csv
import os
import re
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from memba_vision.datasets.image_formats import IMAGE_ENDINGS
from memba_vision.errors import UserError

SEPARATORS = (',', ';', '\t')
EXPECTED = 'expected lines "path,label"'
#: Names of the two columns, the likeliest first, in small letters and with "_" for gaps.
PATH_NAMES = (
    *('path', 'filepath', 'file_path', 'image_path', 'img_path', 'filename', 'file_name', 'file'),
    *('image_name', 'image', 'img', 'images', 'files', 'image_file', 'image_filename', 'photo'),
    *('picture', 'image_id', 'img_id', 'imageid', 'name', 'id'),
)
LABEL_NAMES = (
    *('label', 'class', 'category', 'target', 'class_name', 'classname', 'label_name'),
    *('category_name', 'species', 'labels', 'classes', 'class_id', 'label_id', 'category_id'),
    *('class_label', 'gt_label', 'tag', 'y'),
)
#: Names of a column of splits.
SPLIT_NAMES = ('split', 'subset', 'partition')

Row = tuple[int, list[str]]  # its line in the file, from 1, and its cells


class Columns(NamedTuple):
    """Columns of path and label in a csv, the number of its columns, and that of splits if any."""

    path: int = 0
    label: int = 1
    width: int = 2
    split: int | None = None

    def fit(self, cells: list[str]) -> bool:
        """Return True for a row that has a path and a label, and nothing beyond its columns."""
        enough = len(cells) > max(self.path, self.label) and not any(cells[self.width :])
        return enough and bool(cells[self.path] and cells[self.label])

    def split_in(self, cells: list[str]) -> str:
        """Return what a row says of its split, in small letters; '' if it says nothing."""
        is_there = self.split is not None and self.split < len(cells)
        return cells[self.split].casefold() if is_there else ''


def images_in_csv(source: Path) -> list[tuple[Path, str, str]]:
    """Return images, labels and what a column says of the split, in the order of the lines.

    Columns are separated by commas, semicolons or tabs. A header says which are meant, in any order
    and among others; without one there are two. The split is '' where no column has it. Paths
    are relative to the folder of the csv.

    Raises:
        UserError: the file is no text, a line does not have a path and a label, or there is no
            such file; the message names the line.
    """
    rows, columns = _rows(source)
    found, missing = [], []
    for line, cells in rows:
        if not columns.fit(cells):
            raise UserError(
                f'{source}, line {line}: {EXPECTED}, found {",".join(cells)[:80]!r}: give each '
                'image a line, or have a first line that names the columns path and label'
            )
        image = _locate(source.parent, cells[columns.path])
        found.append((image, cells[columns.label], columns.split_in(cells)))
        if not os.path.isfile(image):
            missing.append((line, image))
    if missing:
        line, image = missing[0]
        raise UserError(
            f'{source} names {len(missing):,} file(s) that do not exist, such as {image} (line '
            f'{line}): paths are relative to the folder of the csv, and a header names the '
            'columns path and label'
        )
    return found


def _rows(source: Path) -> tuple[list[Row], Columns]:
    """Return the rows below the header, and their columns."""
    tables = _tables(source)
    for table in tables:
        header = table[0][1]
        columns = _columns(source.parent, header)
        if columns:
            return [row for row in table[1:] if row[1] != header], columns
    columns = Columns()
    for table in tables:
        cells = table[0][1]
        if columns.fit(cells) and os.path.isfile(_locate(source.parent, cells[0])):
            return table, columns
    in_two = (table for table in tables if all(columns.fit(cells) for _, cells in table))
    return next(in_two, tables[0] if tables else []), columns


def _text(source: Path) -> str:
    content = source.read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode('utf-16' if wide else 'utf-8-sig')
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        raise UserError(
            f'{source}, line {line}: {EXPECTED}, found what is no text in UTF-8: save the csv as '
            'UTF-8, and unpack an archive first'
        ) from error


def _tables(source: Path) -> list[list[Row]]:
    """Parse the csv by each separator that fits, without empty rows and blanks around cells.

    Raises:
        UserError: by none of them, as where a quotation mark is not closed.
    """
    text, tables, problems = _text(source), [], []
    for separator in SEPARATORS:
        lines = StringIO(text, newline='')
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
        try:
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
        except csv.Error as error:
            problems.append(f'{source}, line {reader.line_num}: {EXPECTED}, found {error}')
        else:
            tables.append([(line, cells) for line, cells in rows if any(cells)])
    if not tables:
        raise UserError(problems[0])
    return [table for table in tables if table]


def _columns(folder: Path, header: list[str]) -> Columns | None:
    """Return the columns that a header names; None for a row that is no header."""
    names = ['_'.join(re.findall(r'[^\W_]+', cell.casefold())) for cell in header]
    path = next((names.index(name) for name in PATH_NAMES if name in names), None)
    label = next((names.index(name) for name in LABEL_NAMES if name in names), None)
    if None not in (path, label):
        split = next((names.index(name) for name in SPLIT_NAMES if name in names), None)
        return Columns(path, label, len(header), split)
    # Of two columns one known name is enough, unless it is an image's label.
    is_image = header[0].lower().endswith(IMAGE_ENDINGS) or os.path.isfile(
        _locate(folder, header[0])
    )
    if (path, label) == (None, None) or len(header) != 2 or is_image:
        return None
    return Columns(1 - label, label) if path is None else Columns(path, 1 - path)


def _locate(folder: Path, path: str) -> Path:
    """Return the file of a path, which may have the backslashes of Windows."""
    image = folder / path
    return image if os.path.isfile(image) else folder / path.replace('\\', '/')
