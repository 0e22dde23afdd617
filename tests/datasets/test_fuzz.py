"""Lists and images that nobody meant: a clear error or the right answer, and never a hang."""

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers import make_task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from memba_vision.datasets.vtab1k import VTAB1k
from memba_vision.datasets.vtab1k_tools.images import examine
from memba_vision.errors import UserError

LOAD = [
    dict(type='mmpretrain.LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='mmpretrain.Resize', scale=(8, 8), backend='pillow', interpolation='bicubic'),
    dict(type='mmpretrain.PackInputs'),
]
FUZZ = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """The task kitti with three test images; its test list and its first image are rewritten."""
    return make_task(tmp_path_factory.mktemp('fuzz'), 'kitti')


@pytest.fixture
def test_list(folder):
    path = folder / 'test.txt'
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


# Lists

names = st.sampled_from(
    [
        'images/test/000.png',
        'images/test/001.jpg',
        './images/test/002.png',
        'images/../images/test/000.png',
        'images/test',
        'images/test/000.PNG',
        '/etc/passwd',
        '../kitti/test.txt',
        '',
    ]
)
labels = st.one_of(
    st.integers(-2, 6).map(str),
    st.sampled_from(['³', '1.0', '0x1', '1e0', '+1', '01', '1_0', '9' * 5000, 'nan', '']),
)
gaps = st.sampled_from([' ', '  ', '\t', ',', '\u00a0', '\x0b', '\u2028', '\x85', ''])
lines = st.one_of(
    st.tuples(names, gaps, labels).map(''.join),
    st.tuples(names, st.just(' '), st.integers(0, 3).map(str)).map(''.join),
    st.text(max_size=30),
)
ends = st.sampled_from(['\n', '\r\n', '\r', '\n\n', ' \n', '\x0c\n', '\x00\n'])
texts = st.lists(st.tuples(lines, ends).map(''.join), max_size=6).map(
    lambda parts: ''.join(parts).encode('utf-8', 'surrogatepass')
)


@FUZZ
@given(
    content=st.one_of(
        texts, texts, st.binary(max_size=60), texts.map(lambda t: b'\xef\xbb\xbf' + t)
    )
)
def test_a_list_is_read_rightly_or_refused(test_list, content):
    test_list.write_bytes(content)
    try:
        dataset = VTAB1k('kitti', test_list.parent.parent, 'test')
    except UserError as error:
        assert '\n' not in str(error)
        assert str(test_list) in str(error)
        return
    text = content.decode('utf-8-sig').replace('\r\n', '\n').replace('\r', '\n')
    wanted = [re.fullmatch(r'\s*(.+?)\s* ([0-9]+)\s*', line, re.S) for line in text.split('\n')]
    wanted = [match.groups() for match in wanted if match]
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [(str(test_list.parent / path), int(label)) for path, label in wanted] == [
        (entry['img_path'], entry['gt_label']) for entry in found
    ]
    assert all(0 <= entry['gt_label'] < 4 for entry in found)
    assert all(Path(entry['img_path']).is_file() for entry in found)


# Images


def encode(format: str, mode: str, **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 4), np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels, 'RGBA').convert(mode).save(stream, format, **options)
    return stream.getvalue()


VALID = [
    encode('PNG', 'RGB'),
    encode('PNG', 'P'),
    encode('PNG', '1'),
    encode('PNG', 'LA'),
    encode('JPEG', 'RGB'),
    encode('JPEG', 'CMYK', progressive=True),
    encode('GIF', 'P'),
    encode('BMP', 'RGB'),
    encode('PPM', 'L'),
    encode('TIFF', 'RGB', compression='tiff_lzw'),
    encode('WEBP', 'RGBA', lossless=True),
    encode('WEBP', 'RGB'),
]


@st.composite
def damaged(draw) -> bytes:
    content = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    content = content[: draw(st.integers(0, len(content) * 3))]
    return bytes(content) + draw(st.binary(max_size=8))


@FUZZ
@given(content=st.one_of(damaged(), damaged(), damaged(), st.binary(max_size=100)))
def test_an_image_is_read_or_named_as_unreadable(folder, content):
    path = folder / 'images/test/000.png'
    path.write_bytes(content)
    facts = examine(path)
    dataset = VTAB1k('kitti', folder.parent, 'test', pipeline=LOAD)
    try:
        sample = dataset[0]
    except UserError as error:
        assert facts.problem, 'check passed what training refuses'
        assert str(error).startswith(f'cannot read image {path} (')
        assert '\n' not in str(error)
        return
    assert sample['inputs'].shape == (3, 8, 8)
    assert sample['data_samples'].gt_label.item() == 0


@pytest.mark.parametrize('content', VALID)
def test_whole_images_of_every_format_are_read(folder, content):
    path = folder / 'images/test/000.png'
    path.write_bytes(content)
    assert not examine(path).problem
    assert VTAB1k('kitti', folder.parent, 'test', pipeline=LOAD)[0]['inputs'].shape == (3, 8, 8)


def png(width: int, height: int, extra: bytes = b'') -> bytes:
    """A PNG of one colour, one bit a pixel, which packs about a thousand to one."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack('>I', zlib.crc32(kind + body))
        return struct.pack('>I', len(body)) + kind + body + checksum

    head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0))
    packer = zlib.compressobj(9)
    rows = b''.join(packer.compress(bytes(1 + (width + 7) // 8)) for _ in range(height))
    body = chunk(b'IDAT', rows + packer.flush())
    return b'\x89PNG\r\n\x1a\n' + head + extra + body + chunk(b'IEND', b'')


@pytest.mark.parametrize('side', [9_500, 20_000])
def test_a_decompression_bomb_is_refused_before_it_fills_the_memory(folder, side):
    path = folder / 'images/test/000.png'
    path.write_bytes(png(side, side))
    assert path.stat().st_size < 60_000
    assert 'pixels' in examine(path).problem
    dataset = VTAB1k('kitti', folder.parent, 'test', pipeline=LOAD)
    with pytest.raises(UserError, match=r'cannot read image .*pixels'):
        dataset[0]


def test_a_postscript_program_under_an_image_s_name_is_not_run(folder):
    path = folder / 'images/test/000.png'
    path.write_bytes(
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n'
    )
    assert examine(path).problem == 'no image of a known format'
    with pytest.raises(UserError, match=r'cannot read image .*Ghostscript'):
        VTAB1k('kitti', folder.parent, 'test', pipeline=LOAD)[0]
