"""What there is to know of an image file without its label."""

import hashlib
import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image
from torch.hub import tqdm

from memba_vision.errors import UserError

#: Formats that hold one still image. Pillow knows others, some of which start programs.
FORMATS = ('PNG', 'JPEG', 'BMP', 'GIF', 'PPM', 'TIFF', 'WEBP')
#: Somewhat below Pillow's own limit; the largest images of VTAB-1k have a quarter of it.
MAX_PIXELS = 80_000_000
MAX_BYTES = 500_000_000


@dataclass(frozen=True)
class ImageFacts:
    """One file.

    Attributes:
        sha256: of its bytes, in hex.
        format: Pillow's name, by content and not by the file's ending; '' for no image.
        lossy: whether that format threw pixels away.
        problem: why it cannot be used, or ''.
    """

    sha256: str
    format: str
    lossy: bool
    problem: str


def examine(path: str | Path, decode: bool = True) -> ImageFacts:
    """Read a file, recognise its format and, with ``decode``, decode all of its pixels."""
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
                kind, lossy = image.format, is_lossy(image.format, content)
                problem = _decoding_problem(image) if decode else ''
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        return ImageFacts(sha256, '', False, _one_line(error, content))
    return ImageFacts(sha256, kind, lossy, problem)


def is_lossy(kind: str, content: bytes) -> bool:
    """Whether a file of this format and content holds fewer values than were put into it."""
    return kind == 'JPEG' or (kind == 'WEBP' and content[12:16] != b'VP8L')


def _decoding_problem(image: Image.Image) -> str:
    width, height = image.size
    if width * height > MAX_PIXELS:
        return f'{width:,} x {height:,} pixels are more than the {MAX_PIXELS:,} of any real image'
    image.load()
    return ''


def _one_line(error: Exception, content: bytes) -> str:
    if not content:
        return 'the file is empty'
    if isinstance(error, Image.UnidentifiedImageError):
        return 'no image of a known format'
    return ' '.join(str(error).split()) or type(error).__name__


def examine_all(
    paths: Sequence[str], decode: bool, jobs: int, label: str
) -> Iterator[tuple[str, ImageFacts]]:
    """:func:`examine` many files in ``jobs`` processes, with a progress bar; in order.

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
