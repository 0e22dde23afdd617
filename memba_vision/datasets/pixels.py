"""Reader of images: from a file, bytes, a Pillow image or an array to RGB pixels."""

from io import BytesIO
from pathlib import Path
from urllib.error import URLError

import numpy as np
from mmengine import fileio
from PIL import EpsImagePlugin, Image, ImageOps, UnidentifiedImageError

from memba_vision.datasets.image_formats import HEIF_ENDINGS, IS_HEIF, READS_HEIF
from memba_vision.errors import UserError
from memba_vision.file_kinds import IMAGE, kind_of

# Pillow recognises files by their content, and would start Ghostscript for a PostScript program.
EpsImagePlugin.gs_binary = False

#: A path or address, a file's bytes, a Pillow image, or an array as :func:`read_rgb` takes it.
ImageLike = str | Path | bytes | Image.Image | np.ndarray

#: The colour behind transparent pixels: black, which most files hold there anyway. So a white shape
#: in an alpha channel is the same picture as that channel by itself.
BEHIND_TRANSPARENCY = (0, 0, 0)
SIXTEEN_BITS = ('I;16', 'I;16L', 'I;16B', 'I;16N')
#: The formats whose images are of 16 bits where Pillow calls them 'I', 32-bit integers.
SIXTEEN_BITS_AS_I = ('PNG', 'PPM')
MODES_OF_CHANNELS = {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}


def read_rgb(image: ImageLike) -> np.ndarray:
    """Return the pixels of an image, upright and opaque.

    Training, prediction, pictures and checks all read by this function. Grey values of 16 bits are
    scaled to 8. Transparent pixels lie on ``BEHIND_TRANSPARENCY``. Of several frames the first is
    taken. Colour profiles are not looked at.

    Args:
        image: a path or address, the bytes of a file, a Pillow image, or an array of uint8 or
            uint16: (height, width) or (height, width, channels), where 1 channel is grey, 2 are
            grey and alpha, 3 red, green and blue, 4 those and alpha. Booleans are black and white.

    Returns:
        (height, width, 3) uint8 in the order red, green, blue.

    Raises:
        UserError: the range of the values is not known, or an array is no image.
        Exception: nearly anything, by Pillow on damaged files; see :func:`cannot_read`.
    """
    if isinstance(image, np.ndarray):
        return _of_array(image)
    if isinstance(image, Image.Image):
        return _of_pillow(image)
    if not isinstance(image, str | Path | bytes):
        raise UserError(
            f'an image is a path, the bytes of a file, a Pillow image or an array; got '
            f'{type(image).__name__}: a tensor becomes an array by .numpy()'
        )
    content = image if isinstance(image, bytes) else fileio.get(str(image))
    with Image.open(BytesIO(content)) as opened:
        return _of_pillow(opened)


def cannot_read(image: object, error: Exception) -> UserError:
    """Return the error for an image, named by its path, that could not be read."""
    if isinstance(error, UserError):
        return UserError(f'cannot read image {image}: {error}')
    if isinstance(error, OSError) and error.strerror:  # of the system, not of Pillow
        return UserError(f'cannot read image {image}: {error.strerror}')
    reason = ' '.join(str(error).split()) or type(error).__name__
    if isinstance(error, URLError):
        return UserError(f'cannot fetch image {image}: {reason}')
    if isinstance(error, UnidentifiedImageError):
        reason = 'no image of a known format'  # Pillow's text has an address in memory
        if not READS_HEIF and Path(str(image)).suffix.lower() in HEIF_ENDINGS:
            return UserError(f'cannot read image {image}: it is {IS_HEIF}')
        kind = kind_of(str(image))
        if kind not in ('', IMAGE):
            return UserError(f'cannot read image {image}: it is {kind}')
    return UserError(f'cannot read image {image} ({reason}): replace the file by an intact copy')


def check_range(image: Image.Image) -> None:
    """Raise a UserError where it is not known which of an image's values is black and white."""
    known = image.mode == 'I' and image.format in SIXTEEN_BITS_AS_I
    if image.mode in ('I', 'F') and not known:
        kind = {'I': '32-bit integers', 'F': 'floating-point numbers'}[image.mode]
        raise UserError(
            f"its pixels are {kind} (Pillow's mode {image.mode}), of which it is not known what is "
            'black and what is white: scale them to 0 to 255 and save them with 8 bits'
        )


def exceeds_8_bits(image: Image.Image) -> bool:
    """Return True for grey values of more than 8 bits, which :func:`read_rgb` scales."""
    return image.mode in (*SIXTEEN_BITS, 'I')


def _of_pillow(image: Image.Image) -> np.ndarray:
    check_range(image)
    upright = ImageOps.exif_transpose(image)
    if exceeds_8_bits(image):
        upright = _eight_bits(upright, *_black_and_white(image))
    if not upright.has_transparency_data:
        return np.array(upright.convert('RGB'))
    _scale_transparent_colour(upright)
    if upright.mode == 'La':  # Pillow converts it to nothing else
        upright = upright.convert('LA')
    opaque = Image.new('RGB', upright.size, BEHIND_TRANSPARENCY)
    shown = upright.convert('RGBA')
    opaque.paste(shown, mask=shown.getchannel('A'))
    return np.array(opaque)


def _scale_transparent_colour(image: Image.Image) -> None:
    """Bring the transparent colour of a PNG to 8 bits, as Pillow does with its pixels alone."""
    colour = image.info.get('transparency')
    if isinstance(colour, tuple) and max(colour) > 255:
        image.info['transparency'] = tuple(value >> 8 for value in colour)
    if image.mode == 'L' and isinstance(colour, int) and 0 < colour < 16:
        present = {value for value, count in enumerate(image.histogram()) if count}
        for step in (85, 17):  # between the values of 2 bits, and of 4
            if colour * step in present and all(value % step == 0 for value in present):
                image.info['transparency'] = colour * step
                return


def _black_and_white(image: Image.Image) -> tuple[int, int]:
    """Return the grey values of black and of white; a TIFF may define them."""
    tags = getattr(image, 'tag_v2', {})
    bits = tags.get(258, (16,))[0]  # BitsPerSample
    highest = (1 << bits) - 1
    white_is_zero = tags.get(262) == 0  # PhotometricInterpretation
    return (highest, 0) if white_is_zero else (0, highest)


def _eight_bits(image: Image.Image, black: int, white: int) -> Image.Image:
    """Scale grey values to 8 bits; one that stands for transparent becomes alpha."""
    values = np.asarray(image).astype(np.int32)
    scaled = (values - black) * 255 // (white - black)
    grey = Image.fromarray(scaled.astype(np.uint8))
    if 'transparency' not in image.info:
        return grey
    opaque = np.where(values == image.info['transparency'], 0, 255).astype(np.uint8)
    return Image.merge('LA', (grey, Image.fromarray(opaque)))


def _of_array(array: np.ndarray) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    whole = array.ndim in (2, 3) and array.size > 0
    if not whole or channels not in MODES_OF_CHANNELS:
        raise UserError(
            'an image as an array is (height, width) or (height, width, channels) with 1 to 4 '
            f'channels behind, red first, and at least one pixel; got {array.shape}'
        )
    values = _values_of_eight_bits(array)
    if channels == 3:
        return values
    plain = values.reshape(values.shape[:2]) if channels == 1 else values
    return _of_pillow(Image.fromarray(np.ascontiguousarray(plain)))


def _values_of_eight_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype.kind == 'u' and array.dtype.itemsize == 2:
        return (array // 257).astype(np.uint8)
    raise UserError(
        f'an image as an array is of uint8, from 0 to 255, or of uint16, from 0 to 65535; got '
        f'{array.shape} of {array.dtype}: values from 0 to 1 become that by '
        '(255 * x).round().astype("uint8")'
    )
