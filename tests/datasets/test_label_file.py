"""Files of paths and labels as spreadsheets, scripts and people write them."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from memba_vision.datasets.vtab1k_tools.label_file import images_in_csv
from memba_vision.errors import UserError

ROWS = [('1.png', 'a'), ('b c.png', 'b'), ('deep/3.png', 'a b')]


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / 'deep').mkdir()
    for name, _ in ROWS:
        (tmp_path / name).touch()
    return tmp_path


def read(folder: Path, content: str | bytes) -> list[tuple[str, str]]:
    source = folder / 'labels.csv'
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(str(path.relative_to(folder)), label) for path, label, _ in images_in_csv(source)]


def table(*rows: tuple[str, ...], separator: str = ',', end: str = '\n') -> str:
    return ''.join(separator.join(row) + end for row in rows)


HEADERS = [
    ('path', 'label'),
    ('Path', 'Label'),
    ('path', ' label'),
    ('PATH ', ' LABEL '),
    ('filename', 'class'),
    ('image', 'label'),
    ('file', 'category'),
    ('File Name', 'Class Name'),
    ('file_name', 'target'),
    ('image_path', 'class_id'),
    ('image:FILE', 'label'),
    ('ImageID', 'species'),
    ('#path', 'label'),
    ('"path"', '"label"'),
    ('id', 'y'),
    ('image', 'diagnosis'),
    ('Bild', 'Class'),
]


@pytest.mark.parametrize('separator', [',', ';', '\t'], ids=['comma', 'semicolon', 'tab'])
@pytest.mark.parametrize('header', HEADERS, ids=','.join)
def test_headers(folder, header, separator):
    assert read(folder, table(header, *ROWS, separator=separator)) == ROWS


@pytest.mark.parametrize('separator', [',', ';', '\t'], ids=['comma', 'semicolon', 'tab'])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'], ids=['LF', 'CRLF', 'CR'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('header', [(), (('Path', 'Label'),)], ids=['rows alone', 'header'])
def test_separators_ends_of_lines_and_encodings(folder, separator, end, encoding, header):
    text = table(*header, *ROWS, separator=separator, end=end)
    assert read(folder, text.encode(encoding)) == ROWS
    assert read(folder, text.removesuffix(end).encode(encoding)) == ROWS


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        ('label,path\na,1.png\n', [('1.png', 'a')]),
        (',path,label\n0,1.png,a\n', [('1.png', 'a')]),
        ('id,width,label,filename\n7,48,a,1.png\n', [('1.png', 'a')]),
        ('path,label,split\n1.png,a,train\n', [('1.png', 'a')]),
        ('"1.png","a, or b"\n', [('1.png', 'a, or b')]),
        ('1.png, "a, or b"\n', [('1.png', 'a, or b')]),
        ('1.png;a, or b\n', [('1.png', 'a, or b')]),
        ('1.png,5" ruler\n', [('1.png', '5" ruler')]),
        ('\n1.png,a\n\n , \nb c.png,b,\n', [('1.png', 'a'), ('b c.png', 'b')]),
        ('path,label\n1.png,a\npath,label\nb c.png,b\n', [('1.png', 'a'), ('b c.png', 'b')]),
        ('deep\\3.png,a\n', [('deep/3.png', 'a')]),
        ('./deep/../1.png,a\n', [('deep/../1.png', 'a')]),
        ('1.png,path\nb c.png,label\n', [('1.png', 'path'), ('b c.png', 'label')]),
        ('', []),
        ('path,label\n', []),
    ],
)
def test_what_else_is_read(folder, content, expected):
    assert read(folder, content) == expected


def test_a_first_row_of_known_words_that_is_an_image_is_no_header(folder):
    (folder / 'image').touch()
    assert read(folder, 'image,flower\n1.png,a\n') == [('image', 'flower'), ('1.png', 'a')]


def test_a_name_with_a_separator_in_it(folder):
    (folder / 'a,b.png').touch()
    assert read(folder, 'a,b.png;x\n1.png;y\n') == [('a,b.png', 'x'), ('1.png', 'y')]


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        ('1.png\n', 'line 1: expected lines "path,label", found \'1.png\''),
        ('1.png,a\nb c.png\n', "line 2: .*found 'b c.png'"),
        ('path,label\n1.png,a\n,b\n', "line 3: .*found ',b'"),
        ('path,label\n\n1.png,\n', "line 3: .*found '1.png,'"),
        ('1.png,a,b\n', "line 1: .*found '1.png,a,b'"),
        ('path,label\n1.png,a,b\n', "line 2: .*found '1.png,a,b'"),
        ('Bild,Klasse\n1.png,a\n', r'names 1 file\(s\) that do not exist.*Bild \(line 1\)'),
        ('bild,nummer,klasse\n1.png,7,a\n', "line 1: .*found 'bild,nummer,klasse'"),
        ('1.png,a\r\nx.png,b\r\ny.png,b\r\n', r'names 2 file\(s\).*/x\.png \(line 2\)'),
        ('deep,a\n', r'names 1 file\(s\)'),
        (f'{"x" * 5000},a\n', r'names 1 file\(s\)'),
        ('1.png\0,a\n', r'names 1 file\(s\)'),
        (f'1.png,{"x" * 200_000}\n', 'line .*field larger'),
        (b'1.png,a\nb c.png,caf\xe9\n', r'line 2: .*no text in UTF-8: save the csv as UTF-8'),
        (b'PK\x03\x04\xff\xff', 'line 1: .*unpack an archive first'),
        ('1.png,"a\nb c.png,b\n', 'line 1'),
    ],
)
def test_what_is_refused_with_its_line(folder, content, expected):
    try:
        rows = read(folder, content)
    except UserError as error:
        assert re.search(expected, str(error))
        assert str(folder / 'labels.csv') in str(error)
    else:
        pytest.fail(f'read as {rows}')


cells = st.sampled_from(['1.png', 'b c.png', 'path', 'label', 'a', '', ' ', '"', '"a"', 'é', '\0'])
gaps = st.sampled_from([',', ';', '\t', '\n', '\r\n', '\n', ',', ' '])
texts = st.lists(st.tuples(cells, gaps).map(''.join), max_size=8).map(''.join)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.one_of(texts.map(str.encode), texts.map(str.encode), st.binary(max_size=40)))
@example(b'\xff\xfe')
@example(b'\xff\xfea')
@example(b'\xef\xbb\xbf')
def test_any_content_is_read_or_refused(folder, content):
    try:
        rows = read(folder, content)
    except UserError as error:
        assert str(folder / 'labels.csv') in str(error)
    else:
        assert all(label and (folder / path).is_file() for path, label in rows)
