"""Every kind of image through every way gives the same pixels, and the right ones."""

import re
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image, ImageFilter

from memba_vision.datasets.loading import LoadRGB
from memba_vision.datasets.own_data import OwnData
from memba_vision.datasets.pixels import read_rgb
from memba_vision.datasets.vtab1k_tools.images import examine, summary
from memba_vision.engine.runner import ReadableRunner
from memba_vision.errors import UserError
from memba_vision.reports import step0
from memba_vision.serving.images import ImagePipeline

SIDE = 16
NOISE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 4)).astype(np.uint8)
GREY_16 = np.random.default_rng(1).integers(0, 1 << 16, (SIDE, SIDE)).astype(np.uint16)
LOADERS = {
    'of our configs': dict(type='mmpretrain.LoadImageFromFile', imdecode_backend='pillow'),
    "mmpretrain's default": dict(type='mmpretrain.LoadImageFromFile'),
    'by its class': dict(type=mmcv.transforms.LoadImageFromFile, backend_args=None),
    'by name': dict(type='mmpretrain.LoadRGB'),
}


def in_mode(mode: str) -> Image.Image:
    """Noise of that mode of Pillow."""
    if mode.startswith('I;16'):
        order = '>u2' if mode == 'I;16B' else '<u2'
        return Image.frombytes(mode, (SIDE, SIDE), GREY_16.astype(order).tobytes())
    rgba = Image.fromarray(NOISE)
    if mode in ('I', 'F'):
        return Image.fromarray(NOISE[..., 0].astype({'I': np.int32, 'F': np.float32}[mode]))
    if mode == 'La':
        return rgba.convert('LA').convert('La')
    if mode == 'PA':
        return rgba.convert('RGB').convert('P').convert('PA')
    if mode in ('LAB', 'HSV', 'YCbCr', 'CMYK', 'P', '1', 'L', 'RGBX'):
        rgba = rgba.convert('RGB')
    return (
        Image.frombytes(mode, (SIDE, SIDE), rgba.tobytes()) if mode == 'LAB' else rgba.convert(mode)
    )


def composed(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.round(rgb * (alpha[..., None] / 255)).astype(int)


#: Pillow's modes, and what is to be seen of :func:`in_mode`.
EXPECTED: dict[str, Callable[[Image.Image], np.ndarray]] = {
    **dict.fromkeys(
        ['1', 'L', 'P', 'RGB', 'RGBX', 'CMYK', 'YCbCr', 'LAB', 'HSV'],
        lambda image: np.asarray(image.convert('RGB')),
    ),
    **dict.fromkeys(
        ['RGBA', 'LA', 'PA', 'RGBa'],
        lambda image: composed(
            np.asarray(image.convert('RGBA'))[..., :3], np.asarray(image.convert('RGBA'))[..., 3]
        ),
    ),
    'La': lambda image: EXPECTED['LA'](image.convert('LA')),
    **dict.fromkeys(
        ['I;16', 'I;16L', 'I;16B', 'I;16N'],
        lambda image: np.repeat(GREY_16[..., None] // 257, 3, 2),
    ),
}
REFUSED = ('I', 'F')
#: A format of files that keeps the mode.
KEEPS = {
    **dict.fromkeys(['1', 'L', 'P', 'RGB', 'RGBA', 'LA', 'I;16'], 'png'),
    **dict.fromkeys(['CMYK', 'LAB', 'I;16B', 'I', 'F'], 'tif'),
}


def config(loader: dict, kind: str = 'OwnData') -> Config:
    pipeline = [loader, dict(type='mmpretrain.PackInputs')]
    return Config({'test_dataloader': {'dataset': {'type': kind, 'pipeline': pipeline}}})


def task(path: Path) -> Path:
    """The folder of a task whose only image that is."""
    (path.parent / 'classes.txt').write_text('a\nb\n')
    (path.parent / 'test.txt').write_text(f'{path.name} 0\n')
    return path.parent


def trained_on(path: Path, loader: dict) -> np.ndarray:
    """What a dataset makes of the only image of a task."""
    folder = task(path)
    data = OwnData(
        folder.name, folder.parent, 'test', config(loader).test_dataloader.dataset.pipeline
    )
    return data[0]['inputs'].numpy()[::-1].transpose(1, 2, 0)


def predicted_on(image: object, loader: dict = LOADERS['of our configs']) -> np.ndarray:
    return ImagePipeline(config(loader))(image)['inputs'].numpy()[::-1].transpose(1, 2, 0)


def ways(path: Path) -> dict[str, np.ndarray]:
    """The pixels of a file by every way that reads one, but the app's (``test_app.py``)."""
    content = path.read_bytes()
    found = {
        'file': read_rgb(path),
        'bytes': read_rgb(content),
        'Pillow': read_rgb(Image.open(path)),
    }
    for name, loader in LOADERS.items():
        found[f'training, {name}'] = trained_on(path, loader)
        found[f'prediction, {name}'] = predicted_on(str(path), loader)
    found['prediction of a path'] = predicted_on(path)
    found['prediction of bytes'] = predicted_on(content)
    found['prediction of Pillow'] = predicted_on(Image.open(path))
    found['step 0'] = step0._read_image(path, (SIDE, SIDE)).numpy()
    return found


def assert_the_same(path: Path, expected: np.ndarray) -> None:
    for way, pixels in ways(path).items():
        assert pixels.shape == expected.shape, way
        assert np.array_equal(pixels, expected), way
    assert not examine(path).problem


def folder_of(tmp_path: Path) -> Path:
    (tmp_path / 'task').mkdir()
    return tmp_path / 'task'


def test_every_mode_of_pillow_is_among_those():
    assert {*EXPECTED, *REFUSED} == set(Image.MODES)


@pytest.mark.parametrize('mode', EXPECTED)
def test_every_mode_in_memory(mode):
    image = in_mode(mode)
    assert image.mode == mode
    pixels = read_rgb(image)
    assert pixels.dtype == np.uint8
    # Premultiplied colours are rounded twice.
    assert np.abs(pixels - EXPECTED[mode](image).astype(int)).max() <= (1 if 'a' in mode else 0)
    assert np.array_equal(predicted_on(image), pixels)
    assert image.mode == mode


@pytest.mark.parametrize('mode', [mode for mode in KEEPS if mode not in REFUSED])
def test_every_mode_through_every_way(mode, tmp_path):
    path, image = folder_of(tmp_path) / f'a.{KEEPS[mode]}', in_mode(mode)
    image.save(path)
    assert Image.open(path).mode == mode
    assert_the_same(path, read_rgb(image))


@pytest.mark.parametrize('mode', REFUSED)
def test_values_of_unknown_range_are_refused_by_every_way(mode, tmp_path):
    path, image = folder_of(tmp_path) / 'a.tif', in_mode(mode)
    image.save(path)
    refused = re.escape(f"(Pillow's mode {mode})") + r'.*scale them to 0 to 255'
    for call in (
        lambda: read_rgb(image),
        lambda: read_rgb(path),
        lambda: predicted_on(image),
        lambda: predicted_on(path),
        lambda: trained_on(path, LOADERS['of our configs']),
        lambda: step0._read_image(path, (SIDE, SIDE)),
    ):
        with pytest.raises(UserError, match=refused):
            call()
    for decode in (True, False):
        assert re.search(refused, examine(path, decode).problem)


def smooth(mode: str) -> Image.Image:
    return Image.fromarray(NOISE).convert('RGB').filter(ImageFilter.GaussianBlur(2)).convert(mode)


@pytest.mark.parametrize('ending', ['png', 'jpg', 'bmp', 'gif', 'tif', 'webp', 'ppm'])
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_ordinary_images_have_the_bits_of_mmcv_s_loader(mode, ending, tmp_path):
    path = folder_of(tmp_path) / f'a.{ending}'
    smooth(mode).save(path)
    theirs = mmcv.imfrombytes(path.read_bytes(), backend='pillow')
    assert_the_same(path, theirs[..., ::-1])


# A white shape in the alpha channel, with red under the transparent ground where a format has that.

SHAPE = np.zeros((SIDE, SIDE), np.uint8)
SHAPE[4:12, 6:10] = 255
ALPHA = Image.fromarray(SHAPE)
WHITE = Image.new('L', (SIDE, SIDE), 255)
WHITE_ON_RED = Image.merge('RGB', (WHITE, ALPHA, ALPHA))


def palette() -> Image.Image:
    image = Image.fromarray(SHAPE // 255)
    image.putpalette([255, 0, 0, 255, 255, 255])
    return image


def rgba() -> Image.Image:
    return Image.merge('RGBA', (*WHITE_ON_RED.split(), ALPHA))


SHAPES = {
    'itself.png': (ALPHA, {}),
    'LA.png': (Image.merge('LA', (WHITE, ALPHA)), {}),
    'RGBA.png': (rgba(), {}),
    'RGBA.tif': (rgba(), {}),
    'RGBA.webp': (rgba(), dict(lossless=True, exact=True)),
    'palette with one transparent colour.png': (palette(), dict(transparency=0)),
    'palette with alphas.png': (palette(), dict(transparency=bytes([0, 255]))),
    'palette.gif': (palette(), dict(transparency=0)),
    'a transparent colour.png': (WHITE_ON_RED, dict(transparency=(255, 0, 0))),
    'a transparent grey.png': (
        Image.fromarray(np.where(SHAPE == 0, 77, 255).astype(np.uint8)),
        dict(transparency=77),
    ),
    'a transparent grey of 16 bits.png': (
        Image.fromarray(np.where(SHAPE == 0, 30_000, 65_535).astype(np.uint16)),
        dict(transparency=30_000),
    ),
}


@pytest.mark.parametrize('name', SHAPES)
def test_every_alpha_lies_on_one_colour(name, tmp_path):
    path, (image, options) = folder_of(tmp_path) / name.replace(' ', '_'), SHAPES[name]
    image.save(path, **options)
    assert_the_same(path, np.repeat(SHAPE[..., None], 3, 2))


def test_a_transparent_white_of_one_bit(tmp_path):
    path = folder_of(tmp_path) / 'a.png'
    in_mode('1').save(path, transparency=1)
    assert_the_same(path, np.zeros((SIDE, SIDE, 3)))


def small_png(bits: int, colour_type: int, rows: np.ndarray, transparent: list[int]) -> bytes:
    """A PNG of kinds that Pillow does not write; the values have ``bits`` each."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack('>I', zlib.crc32(kind + body))
        return struct.pack('>I', len(body)) + kind + body + checksum

    shifts = np.arange(bits)[::-1]
    packed = np.packbits(rows[..., None] >> shifts & 1, axis=None).reshape(len(rows), -1)
    lines = b''.join(b'\0' + line.tobytes() for line in packed)
    head = struct.pack('>IIBBBBB', SIDE, SIDE, bits, colour_type, 0, 0, 0)
    key = struct.pack(f'>{len(transparent)}H', *transparent)
    chunks = [(b'IHDR', head), (b'tRNS', key), (b'IDAT', zlib.compress(lines)), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in chunks)


@pytest.mark.parametrize('bits', [1, 2, 4, 8, 16])
@pytest.mark.parametrize('place', [0, 1, -1])
def test_a_transparent_grey_of_every_depth(bits, place, tmp_path):
    """Black, the darkest grey or white of a depth is transparent."""
    highest = (1 << bits) - 1
    rows = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 5 * (257 if bits == 16 else 1) & highest
    transparent = highest if place == -1 else place
    path = folder_of(tmp_path) / 'a.png'
    path.write_bytes(small_png(bits, 0, rows, [transparent]))
    scaled = rows * 255 // highest
    expected = np.where(rows == transparent, 0, scaled)[..., None].repeat(3, 2)
    assert_the_same(path, expected)


def test_a_transparent_colour_of_16_bits(tmp_path):
    path, colours = folder_of(tmp_path) / 'a.png', np.uint16(NOISE[..., :3]) * 257
    colours[3:5, :] = (0x1234, 0x5678, 0x9ABC)
    rows = colours.reshape(SIDE, SIDE * 3).astype(int)
    path.write_bytes(small_png(16, 2, rows, [0x1234, 0x5678, 0x9ABC]))
    expected = NOISE[..., :3].copy()
    expected[3:5] = 0
    assert_the_same(path, expected)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize(('mode', 'ending'), [('RGB', 'jpg'), ('RGBA', 'png'), ('I;16', 'tif')])
def test_images_are_turned_upright(mode, ending, orientation, tmp_path):
    """The eight orientations of EXIF, here by numpy."""
    path, exif = folder_of(tmp_path) / f'a.{ending}', Image.Exif()
    exif[0x0112] = orientation
    image = in_mode(mode).resize((SIDE, SIDE // 2), Image.Resampling.NEAREST)
    image.save(tmp_path / path.name)
    image.save(path, exif=exif)
    expected = read_rgb(tmp_path / path.name)
    if orientation in (2, 3):
        expected = expected[:, ::-1]
    if orientation in (3, 4):
        expected = expected[::-1]
    if orientation >= 5:
        expected = expected.transpose(1, 0, 2)
        expected = expected[:, ::-1] if orientation in (6, 7) else expected
        expected = expected[::-1] if orientation in (7, 8) else expected
    # Pillow by itself turns a TIFF wrongly that it opens by its name, and so maps into memory.
    for image in (path, Image.open(BytesIO(path.read_bytes()))):
        assert np.array_equal(read_rgb(image), expected)
    assert np.array_equal(trained_on(path, LOADERS['of our configs']), expected)


def test_sixteen_bits_in_other_files(tmp_path):
    """PGM; a TIFF whose zero is white; one of twelve bits."""
    folder = folder_of(tmp_path)
    expected = np.repeat(GREY_16[..., None] // 257, 3, 2)
    head = f'P5 {SIDE} {SIDE} 65535\n'.encode()
    (folder / 'a.pgm').write_bytes(head + GREY_16.astype('>u2').tobytes())
    assert_the_same(folder / 'a.pgm', expected)
    Image.fromarray(GREY_16).save(folder / 'white.tif', tiffinfo={262: 0})
    white_is_zero = np.repeat((65_535 - GREY_16.astype(int))[..., None] // 257, 3, 2)
    assert_the_same(folder / 'white.tif', white_is_zero)


def test_twelve_bits_are_scaled_from_twelve(tmp_path):
    path = folder_of(tmp_path) / 'a.tif'
    values = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE))
    pairs = values.reshape(-1, 2)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1
    )
    Image.new('L', (SIDE, SIDE)).save(path)
    path.write_bytes(tiff_of_twelve_bits(packed.astype(np.uint8).tobytes()))
    assert_the_same(path, np.repeat(values[..., None] * 255 // 4095, 3, 2))


def tiff_of_twelve_bits(strip: bytes) -> bytes:
    entries = [
        *((256, 3, SIDE), (257, 3, SIDE), (258, 3, 12), (259, 3, 1), (262, 3, 1), (277, 3, 1)),
        *((278, 3, SIDE), (279, 4, len(strip))),
    ]
    start = 8 + 2 + 12 * (len(entries) + 1) + 4
    entries = sorted([*entries, (273, 4, start)])
    table = b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in entries)
    return b'II*\0' + struct.pack('<IH', 8, len(entries)) + table + bytes(4) + strip


@pytest.mark.parametrize('ending', ['gif', 'png', 'tif', 'webp'])
def test_of_several_frames_the_first_is_read(ending, tmp_path):
    path = folder_of(tmp_path) / f'a.{ending}'
    first, second = (Image.new('RGB', (SIDE, SIDE), colour) for colour in ('lime', 'red'))
    options = {'lossless': True} if ending == 'webp' else {}
    first.save(path, save_all=True, append_images=[second], **options)
    assert_the_same(path, np.broadcast_to(np.uint8([0, 255, 0]), (SIDE, SIDE, 3)))
    assert summary([examine(path)]).endswith(
        '1 with several frames, of which the first is read; 1 of one colour all over'
    )


def test_a_camera_s_file_with_a_second_picture(tmp_path):
    """A JPEG in all but its format's name."""
    path = folder_of(tmp_path) / 'a.jpg'
    smooth('RGB').save(path, 'MPO', save_all=True, append_images=[smooth('L').convert('RGB')])
    facts = examine(path)
    assert (facts.format, facts.lossy, facts.frames) == ('MPO', True, True)
    assert_the_same(path, np.asarray(Image.open(path)))


ARRAYS = {
    'grey': (NOISE[..., 0], NOISE[..., :1].repeat(3, 2)),
    'grey with a channel': (NOISE[..., :1], NOISE[..., :1].repeat(3, 2)),
    'grey and alpha': (NOISE[..., :2], composed(NOISE[..., :1].repeat(3, 2), NOISE[..., 1])),
    'red, green, blue': (NOISE[..., :3], NOISE[..., :3]),
    'and alpha': (NOISE, composed(NOISE[..., :3], NOISE[..., 3])),
    'not contiguous': (NOISE[::-1, :, ::-1], composed(NOISE[::-1, :, :0:-1], NOISE[::-1, :, 0])),
    '16 bits': (GREY_16, GREY_16[..., None].repeat(3, 2) // 257),
    '16 bits, other bytes': (GREY_16.astype('>u2'), GREY_16[..., None].repeat(3, 2) // 257),
    '16 bits in colour': (np.uint16(NOISE[..., :3]) * 257, NOISE[..., :3]),
    'booleans': (GREY_16 > 999, (GREY_16 > 999)[..., None].repeat(3, 2) * 255),
}


@pytest.mark.parametrize('name', ARRAYS)
def test_arrays(name):
    array, expected = ARRAYS[name]
    before = array.copy()
    for pixels in (read_rgb(array), predicted_on(array)):
        assert np.array_equal(pixels, expected)
    assert np.array_equal(array, before)


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (np.zeros((4, 4, 3)), r'got \(4, 4, 3\) of float64.*\(255 \* x\)\.round\(\)'),
        (np.zeros((4, 4, 3), np.int64), r'uint8.*got \(4, 4, 3\) of int64'),
        (np.zeros((3, 8, 8), np.uint8), r'channels behind, red first.*got \(3, 8, 8\)'),
        (np.zeros((2, 4, 4, 3), np.uint8), r'got \(2, 4, 4, 3\)'),
        (np.zeros((4, 4, 5), np.uint8), r'1 to 4 channels'),
        (np.zeros((4, 4, 0), np.uint8), r'1 to 4 channels'),
        (np.zeros((0, 4, 3), np.uint8), r'at least one pixel; got \(0, 4, 3\)'),
        (np.zeros(7, np.uint8), r'got \(7,\)'),
        (torch.zeros(3, 4, 4), r'a Pillow image or an array; got Tensor'),
        (None, 'got NoneType'),
    ],
    ids=lambda value: f'{getattr(value, "shape", "")}' if not isinstance(value, str) else '',
)
def test_what_is_no_image_as_an_array(array, message):
    for call in (read_rgb, predicted_on):
        with pytest.raises(UserError, match=message):
            call(array)


def test_loaders_that_are_asked_for_something_else_stay(tmp_path):
    path = folder_of(tmp_path) / 'a.png'
    in_mode('RGB').save(path)
    grey = trained_on(path, dict(type='mmpretrain.LoadImageFromFile', color_type='grayscale'))
    assert grey.shape == (SIDE, SIDE, 1)
    floats = trained_on(path, dict(type='mmpretrain.LoadImageFromFile', to_float32=True))
    assert floats.dtype == np.float32
    assert np.array_equal(floats, NOISE[..., :3])
    assert predicted_on(NOISE, dict(type='mmpretrain.LoadRGB', to_float32=True)).dtype == np.float32


def test_a_pipeline_that_is_set_later_reads_alike(tmp_path):
    """As hooks of mmpretrain do, which change the augmentations in the course of a training."""
    path = folder_of(tmp_path) / 'a.png'
    in_mode('LA').save(path)
    steps = config(LOADERS["mmpretrain's default"]).test_dataloader.dataset.pipeline
    data = OwnData(task(path).name, tmp_path, 'test')
    data.pipeline = Compose(steps)
    assert isinstance(data.pipeline.transforms[0], LoadRGB)


@pytest.mark.parametrize('wrapped', [False, True])
def test_datasets_of_mmpretrain_read_alike_in_a_run(wrapped, tmp_path):
    path = folder_of(tmp_path) / 'a.png'
    rgba().save(path)
    init_default_scope('mmpretrain')
    steps = config(LOADERS["mmpretrain's default"]).test_dataloader.dataset.pipeline
    folder = dict(type='CustomDataset', data_root=str(tmp_path), pipeline=steps)
    several = dict(
        type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=2, dataset=folder)]
    )
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader = ReadableRunner.build_dataloader(
        dict(batch_size=1, dataset=several if wrapped else folder, sampler=sampler)
    )
    for batch in loader:
        pixels = batch['inputs'][0].numpy()[::-1].transpose(1, 2, 0)
        assert np.array_equal(pixels, read_rgb(path))


def test_a_config_that_does_not_say_how_images_are_read():
    for test_dataloader in (None, {}, {'dataset': {'type': 'OwnData'}}):
        with pytest.raises(UserError, match=r'no test_dataloader\.dataset\.pipeline'):
            ImagePipeline(Config({'test_dataloader': test_dataloader}))


@pytest.mark.parametrize('wrapper', ['ConcatDataset', 'RepeatDataset', 'KFoldDataset'])
def test_the_pipeline_of_data_behind_wrappers(wrapper):
    plain = config(LOADERS['of our configs']).test_dataloader.dataset
    inner = dict(type='ClassBalancedDataset', dataset=plain)
    parts = dict(datasets=[inner, plain]) if wrapper == 'ConcatDataset' else dict(dataset=inner)
    wrapped = Config({'test_dataloader': {'dataset': dict(type=wrapper, **parts)}})
    pixels = ImagePipeline(wrapped)(NOISE)['inputs']
    assert np.array_equal(pixels.numpy()[::-1].transpose(1, 2, 0), read_rgb(NOISE))


def test_pipelines_of_which_none_is_meant():
    datasets = [config(LOADERS[name]).test_dataloader.dataset for name in list(LOADERS)[:2]]
    several = {'test_dataloader': {'dataset': dict(type='ConcatDataset', datasets=datasets)}}
    with pytest.raises(UserError, match=r'the 2 datasets of test_dataloader .* different'):
        ImagePipeline(Config(several))


def test_the_summary_of_many_images(tmp_path):
    for number in range(3):
        Image.fromarray(NOISE[: 4 + number, :9, :3].copy()).save(tmp_path / f'rgb{number}.png')
    Image.fromarray(GREY_16).save(tmp_path / 'wide.png')
    Image.fromarray(GREY_16 // 100).save(tmp_path / 'dark.png')
    black = Image.merge('LA', (Image.new('L', (SIDE, SIDE)), ALPHA))
    black.save(tmp_path / 'gone.png')
    for decode in (True, False):
        assert summary(examine(path, decode) for path in tmp_path.iterdir()) == (
            '6 images: 3 RGB, 2 I;16 (scaled to 8 bits), 1 LA (on black where transparent); '
            '9 x 4 to 16 x 16 pixels; 1 with values in the lowest eighth of 16 bits alone; '
            '1 of one colour all over'
        )
    assert summary([]) == '0 images'
