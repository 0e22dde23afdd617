"""Formats that another library adds are read like any other, or that library is named."""

import numpy as np
import pytest
from PIL import Image

from memba_vision.datasets import image_formats, pixels
from memba_vision.datasets.pixels import cannot_read, read_rgb
from memba_vision.datasets.vtab1k_tools import folders
from memba_vision.datasets.vtab1k_tools.folders import reason_to_skip
from memba_vision.datasets.vtab1k_tools.images import examine

# Of AVIF the turn that Pillow writes; in HEIF, which has a turn of its own, Exif's says nothing.
TURNS = {'AVIF': 6, 'HEIF': 1}


@pytest.mark.parametrize('name', TURNS)
def test_a_format_of_another_library_is_read_upright(tmp_path, name):
    if name not in image_formats.FORMATS:
        pytest.skip(f'Pillow does not read {name} here')
    path = tmp_path / f'photo.{name.lower()}'
    image = Image.new('RGB', (32, 16), 'blue')
    image.paste('red', (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = TURNS[name]
    image.save(path, format=name, exif=exif)
    facts = examine(path)
    assert (facts.problem, facts.format, facts.lossy) == ('', name, True)
    assert reason_to_skip(path) == ''
    rgb = read_rgb(path)
    assert rgb.shape == ((32, 16, 3) if TURNS[name] == 6 else (16, 32, 3))
    assert np.abs(rgb[4, 8].astype(int) - (255, 0, 0)).max() < 20


def test_the_library_that_reads_photos_of_phones_is_named(tmp_path, monkeypatch):
    path = tmp_path / 'IMG_1.HEIC'
    path.write_bytes(b'\0\0\0\x18ftypheic')
    for module in (pixels, folders):
        monkeypatch.setattr(module, 'READS_HEIF', False, raising=False)
    monkeypatch.setattr(folders, 'IMAGE_ENDINGS', ('.png',))
    monkeypatch.setattr(folders, 'FORMATS', ('PNG',))
    assert 'pip install pillow-heif' in reason_to_skip(path)
    with pytest.raises(Exception, match='cannot identify') as caught:
        Image.open(path, formats=('PNG',))
    assert 'pip install pillow-heif' in str(cannot_read(path, caught.value))
