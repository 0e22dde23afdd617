"""Facts of an image file that do not depend on its label."""

import hashlib
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from torch.hub import tqdm

from memba_vision.datasets.image_formats import FORMATS
from memba_vision.datasets.pixels import check_range, exceeds_8_bits, read_rgb
from memba_vision.datasets.vtab1k_tools.alike import look_of
from memba_vision.errors import UserError

#: Somewhat below Pillow's own limit; the largest images of VTAB-1k have a quarter of it.
MAX_PIXELS = 80_000_000
MAX_BYTES = 500_000_000


@dataclass(frozen=True)
class ImageFacts:
    """Facts of one file.

    Attributes:
        sha256: hash of its bytes, in hex.
        format: Pillow's name, by content and not by the file's ending; '' for no image.
        lossy: True if the format compresses with loss.
        problem: reason why it cannot be used, or ''.
        kind: Pillow's mode, with the conversion that reading makes.
        size: width and height.
        frames: True if there are several frames, of which only the first is read.
        dark: True if values of more than 8 bits all lie in the lowest eighth of their range, as
            those of a camera of 12 bits do.
        flat: True if all pixels have one colour, as a black shape on transparent ones has.
        look: see :func:`memba_vision.datasets.vtab1k_tools.alike.look_of`; empty where the pixels
            were not decoded.
    """

    sha256: str
    format: str
    lossy: bool
    problem: str
    kind: str = ''
    size: tuple[int, int] = (0, 0)
    frames: bool = False
    dark: bool = False
    flat: bool = False
    look: bytes = b''


def examine(path: str | Path, decode: bool = True) -> ImageFacts:
    """Read a file, recognise its format and, with ``decode``, decode all of its pixels.

    Images of more than 8 bits or with transparency are decoded in any case: other programs may show
    more in them than is read here.
    """
    try:
        if not Path(path).is_file():  # to read a device or a pipe could take for ever
            return ImageFacts('', '', False, 'there is no such file')
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            return ImageFacts('', '', False, f'{size:,} bytes are too many for an image')
        content = Path(path).read_bytes()
    except OSError as error:
        return ImageFacts('', '', False, error.strerror or str(error))
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the limit below is stricter than Pillow's warnings
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                facts = _facts(image, content, sha256, decode)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        return ImageFacts(sha256, '', False, _one_line(error, content))
    return facts


def is_lossy(kind: str, content: bytes) -> bool:
    """Return True for a file whose compression is lossy, by its format and content."""
    return kind in ('JPEG', 'MPO', 'AVIF', 'HEIF') or (kind == 'WEBP' and content[12:16] != b'VP8L')


def _facts(image: Image.Image, content: bytes, sha256: str, decode: bool) -> ImageFacts:
    kind, lossy = image.format, is_lossy(image.format, content)
    width, height = image.size
    if width * height > MAX_PIXELS:
        problem = f'{width:,} x {height:,} pixels are more than the {MAX_PIXELS:,} of real images'
        return ImageFacts(sha256, kind, lossy, problem)
    check_range(image)
    mode, size, wide = _kind(image), image.size, exceeds_8_bits(image)
    frames = getattr(image, 'is_animated', False)
    if not decode and mode == image.mode:
        return ImageFacts(sha256, kind, lossy, '', mode, size, frames)
    rgb = read_rgb(image)
    dark = wide and bool(rgb.max() < 32)
    flat = all(bool((part == rgb[0, 0]).all()) for part in (rgb[0], rgb))  # a row tells most
    return ImageFacts(sha256, kind, lossy, '', mode, size, frames, dark, flat, look_of(rgb))


def _kind(image: Image.Image) -> str:
    if exceeds_8_bits(image):
        return f'{image.mode} (scaled to 8 bits)'
    if image.has_transparency_data:
        return f'{image.mode} (on black where transparent)'
    return image.mode


def summary(facts: Iterable[ImageFacts]) -> str:
    """Return a line with the numbers of images of each kind, and the range of their sizes."""
    good = [fact for fact in facts if not fact.problem]
    kinds = Counter(fact.kind for fact in good).most_common()
    if not good:
        return '0 images'
    parts = [f'{len(good):,} images: ' + ', '.join(f'{count:,} {kind}' for kind, count in kinds)]
    sizes = sorted({fact.size for fact in good}, key=lambda size: (size[0] * size[1], size))
    named = [f'{width:,} x {height:,}' for width, height in sizes[:: max(1, len(sizes) - 1)][:2]]
    parts.append(' to '.join(named) + ' pixels')
    frames = sum(fact.frames for fact in good)
    parts.append(f'{frames:,} with several frames, of which the first is read' if frames else '')
    dark = sum(fact.dark for fact in good)
    parts.append(f'{dark:,} with values in the lowest eighth of 16 bits alone' if dark else '')
    flat = sum(fact.flat for fact in good)
    parts.append(f'{flat:,} of one colour all over' if flat else '')
    return '; '.join(part for part in parts if part)


def _one_line(error: Exception, content: bytes) -> str:
    if not content:
        return 'the file is empty'
    if isinstance(error, Image.UnidentifiedImageError):
        return 'no image of a known format'
    return ' '.join(str(error).split()) or type(error).__name__


def examine_all(
    paths: Sequence[str], decode: bool, jobs: int, label: str
) -> Iterator[tuple[str, ImageFacts]]:
    """Apply :func:`examine` to files in ``jobs`` processes, in order, with a progress bar.

    Raises:
        UserError: a process was killed.
    """
    progress = partial(tqdm, total=len(paths), desc=label, unit=' files', disable=None)
    work = partial(examine, decode=decode)
    if jobs == 1 or len(paths) < 64:
        yield from zip(paths, progress(map(work, paths)), strict=True)
        return
    context = multiprocessing.get_context('fork')  # else each process would import torch
    pool = ProcessPoolExecutor(jobs, mp_context=context)
    try:
        yield from zip(paths, progress(pool.map(work, paths, chunksize=32)), strict=True)
    except BrokenProcessPool as error:
        raise UserError(
            f'a process that decoded images of {label} was killed, perhaps for its memory: run '
            'again with --jobs 1'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
