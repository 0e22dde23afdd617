"""The text fonts that matplotlib brings, and their glyphs as distance fields."""

from functools import cache
from pathlib import Path

import numpy as np

from memba_vision.errors import UserError

#: Files by family. Fonts of symbols, of parts of signs and of a few letters only are left out.
FAMILIES: dict[str, tuple[str, ...]] = {
    'DejaVu Sans': (
        'DejaVuSans',
        'DejaVuSans-Bold',
        'DejaVuSans-Oblique',
        'DejaVuSans-BoldOblique',
    ),
    'DejaVu Sans Mono': (
        'DejaVuSansMono',
        'DejaVuSansMono-Bold',
        'DejaVuSansMono-Oblique',
        'DejaVuSansMono-BoldOblique',
    ),
    'STIX General': (
        'STIXGeneral',
        'STIXGeneralBol',
        'STIXGeneralItalic',
        'STIXGeneralBolIta',
    ),
    'Computer Modern Roman': ('cmr10', 'cmb10', 'cmti10'),
    'Computer Modern Sans': ('cmss10',),
    'DejaVu Serif': (
        'DejaVuSerif',
        'DejaVuSerif-Bold',
        'DejaVuSerif-Italic',
        'DejaVuSerif-BoldItalic',
    ),
    'Computer Modern Typewriter': ('cmtt10',),
}
TEST_FAMILIES = ('DejaVu Serif', 'Computer Modern Typewriter')
TRAIN_FAMILIES = tuple(family for family in FAMILIES if family not in TEST_FAMILIES)

FIELD_SIZE = 80  # samples along a side of a glyph's field
DETAIL = 2  # pixels of the drawing for a sample
GLYPH_HEIGHT = 0.6  # of a capital, as a part of the field's side


def glyph_fields(families: tuple[str, ...], letters: str) -> list[np.ndarray]:
    """Return the signed distances of glyphs to their outlines, negative inside.

    Args:
        families: Names of ``FAMILIES``.
        letters: Each character is drawn.

    Returns:
        For each family, (faces, letters, FIELD_SIZE, FIELD_SIZE) float32, in heights of a capital.
        The middle of the glyph's box is in the middle of the field.

    Raises:
        UserError: matplotlib's fonts are not there.
    """
    return [
        np.stack([[_glyph_field(face, letter) for letter in letters] for face in FAMILIES[family]])
        for family in families
    ]


@cache
def _glyph_field(face: str, letter: str) -> np.ndarray:
    from PIL import Image, ImageDraw
    from scipy.ndimage import distance_transform_edt  # takes a while to import

    side = FIELD_SIZE * DETAIL
    font = _load(face, side)
    drawing = Image.new('1', (side, side))
    left, top, right, bottom = font.getbbox(letter)
    middle = ((side - left - right) / 2, (side - top - bottom) / 2)
    ImageDraw.Draw(drawing).text(middle, letter, fill=1, font=font)
    inside = np.asarray(drawing)
    distance = distance_transform_edt(~inside) - distance_transform_edt(inside)
    first = DETAIL // 2
    return (distance[first::DETAIL, first::DETAIL] / (GLYPH_HEIGHT * side)).astype(np.float32)


@cache
def _load(face: str, side: int):
    from PIL import ImageFont

    path = _folder() / f'{face}.ttf'
    if not path.is_file():
        raise UserError(
            f'no font {path}, which the task of letters is drawn with: reinstall matplotlib '
            '(pip install --force-reinstall matplotlib)'
        )
    em = 200
    # Pillow's other engine needs a library of the system, and moves some glyphs by a pixel.
    engine = ImageFont.Layout.BASIC
    top, bottom = ImageFont.truetype(path, em, layout_engine=engine).getbbox('H')[1::2]
    size = round(em * GLYPH_HEIGHT * side / (bottom - top))
    return ImageFont.truetype(path, size, layout_engine=engine)


def _folder() -> Path:
    from matplotlib import get_data_path

    return Path(get_data_path(), 'fonts', 'ttf')
