"""Glyphs of many scripts, drawn with the fonts that come with matplotlib."""

import unicodedata
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GLYPH_SIZE = 40  # pixels, height and width
POINTS = 36  # the size that glyphs are drawn at before they are cut out
FONTS = (
    *(f'DejaVu{family}' for family in ('Sans', 'Sans-Bold', 'Sans-Oblique', 'SansMono')),
    *(f'DejaVuSerif{style}' for style in ('', '-Bold', '-Italic')),
    *(f'STIXGeneral{style}' for style in ('', 'Bol', 'Italic', 'BolIta')),
)
CATEGORIES = ('Lu', 'Ll', 'Lo', 'So', 'Sc')  # of Unicode: letters, pictures, currencies
FINE_PATTERNS = ('BRAILLE', 'BOX DRAWINGS')  # hardly told apart in small images
LEAST_PICTURES = 6  # a class has at least as many pictures
#: The characters of the tasks, of which no look-alike is shown in pre-training.
HELD_OUT = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
MOST_ALIKE = 0.85  # correlation of two glyphs that count as the same


class Glyphs(NamedTuple):
    """Pictures by class.

    Attributes:
        pictures: coverage, (n, GLYPH_SIZE, GLYPH_SIZE) uint8.
        classes: the class of each picture, (n,) int64.
        characters: the character of each class, without marks.
    """

    pictures: np.ndarray
    classes: np.ndarray
    characters: list[str]


@cache
def draw_glyphs() -> Glyphs:
    """Draw characters that fonts show in six ways and more and that look like none of the tasks'.

    Latin letters and digits with any mark, in any style, are left out, and so is each character
    that looks like a capital letter or a digit in one of the fonts, a Greek alpha say. A letter
    with marks is of the class of the letter.
    """
    drawn = defaultdict(list)
    alike = set()
    for font in _fonts():
        held_out = np.stack([_normalised(_draw(font, character)) for character in HELD_OUT])
        for character in _characters(font):
            picture = _draw(font, character)
            if picture is None:
                continue
            letter = unicodedata.normalize('NFD', character)[0]
            drawn[letter].append(picture)
            if (held_out @ _normalised(picture)).max() > MOST_ALIKE:
                alike.add(letter)
    kept = sorted(c for c, pictures in drawn.items() if len(pictures) >= LEAST_PICTURES)
    kept = [character for character in kept if character not in alike]
    classes = [number for number, c in enumerate(kept) for _ in drawn[c]]
    pictures = np.stack([picture for c in kept for picture in drawn[c]])
    return Glyphs(pictures, np.array(classes), kept)


def _fonts() -> list[ImageFont.FreeTypeFont]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf'
    return [ImageFont.truetype(str(folder / f'{name}.ttf'), POINTS) for name in FONTS]


def _characters(font: ImageFont.FreeTypeFont) -> list[str]:
    from matplotlib.ft2font import FT2Font

    characters = [chr(code) for code in sorted(FT2Font(font.path).get_charmap())]
    return [c for c in characters if _is_wanted(c)]


def _is_wanted(character: str) -> bool:
    if unicodedata.category(character) not in CATEGORIES or _is_latin(character):
        return False
    return not unicodedata.name(character, '').startswith(FINE_PATTERNS)


def _is_latin(character: str) -> bool:
    # The compatible decomposition of a letter with marks, in a circle or a style begins with it.
    decomposed = unicodedata.normalize('NFKD', character)
    return any(part.isascii() and part.isalnum() for part in decomposed)


def _draw(font: ImageFont.FreeTypeFont, character: str) -> np.ndarray | None:
    # Coverage (GLYPH_SIZE, GLYPH_SIZE) uint8 of the character in the middle; None if it is blank
    # or hardly more than a dot or a bar.
    left, top, right, bottom = font.getbbox(character)
    width, height = right - left, bottom - top
    if max(width, height) < POINTS / 4 or min(width, height) < POINTS / 8:
        return None
    canvas = Image.new('L', (width, height))
    ImageDraw.Draw(canvas).text((-left, -top), character, fill=255, font=font)
    share = (GLYPH_SIZE - 2) / max(width, height)
    size = tuple(max(1, round(side * share)) for side in (width, height))
    picture = Image.new('L', (GLYPH_SIZE, GLYPH_SIZE))
    corner = tuple((GLYPH_SIZE - side) // 2 for side in size)
    picture.paste(canvas.resize(size, Image.Resampling.BILINEAR), corner)
    return np.asarray(picture) if picture.getextrema()[1] > 128 else None


def _normalised(picture: np.ndarray) -> np.ndarray:
    # A vector of mean 0 and length 1, so that products of two are correlations.
    vector = picture.astype(np.float32).ravel()
    vector -= vector.mean()
    return vector / np.linalg.norm(vector)
