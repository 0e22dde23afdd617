"""Formats of images: those that are read anywhere, and those that another library adds."""

from importlib.util import find_spec

AVIF_ENDINGS = ('.avif',)
HEIF_ENDINGS = ('.heic', '.heif', '.hif')
IS_HEIF = 'of HEIF, which pillow-heif reads (pip install pillow-heif)'


def _have_pillow_read_heif() -> bool:
    """Return False where pillow-heif, which reads what phones write, is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


READS_AVIF = find_spec('PIL._avif') is not None  # Pillow may be built without
READS_HEIF = _have_pillow_read_heif()

#: Formats of images that are read. Pillow knows others, some of which start programs.
FORMATS = (
    *('PNG', 'JPEG', 'BMP', 'GIF', 'PPM', 'TIFF', 'WEBP'),
    *(('AVIF',) if READS_AVIF else ()),
    *(('HEIF',) if READS_HEIF else ()),
)
#: Endings of the names of their files.
IMAGE_ENDINGS = (
    *('.png', '.apng', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.gif', '.webp'),
    *('.ppm', '.pgm', '.pbm', '.pnm', '.tif', '.tiff'),
    *(AVIF_ENDINGS if READS_AVIF else ()),
    *(HEIF_ENDINGS if READS_HEIF else ()),
)
