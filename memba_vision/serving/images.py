"""Preprocessing of images, from paths or memory, as a model's data loader does it."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from memba_vision.datasets.image_formats import FORMATS
from memba_vision.datasets.loading import LoadRGB, with_load_rgb
from memba_vision.datasets.pixels import ImageLike, cannot_read, read_rgb
from memba_vision.datasets.vtab1k_tools.folders import walk_images
from memba_vision.datasets.vtab1k_tools.skipped_entries import SkippedEntry, shown
from memba_vision.engine.config_errors import reporting_config_errors
from memba_vision.errors import UserError
from memba_vision.runs.image_size import pipelines_below
from memba_vision.zoo.arguments import is_positive_integer

NAMED = 5  # of the entries of a folder that are left out


class ImagePipeline:
    """The transforms of a config's test data.

    Files and images in memory are read by :func:`memba_vision.datasets.pixels.read_rgb`, as in
    training.

    Args:
        config: of a model, with ``test_dataloader.dataset.pipeline``.

    Raises:
        UserError: the transforms cannot be built.
    """

    def __init__(self, config: Config) -> None:
        init_default_scope('mmpretrain')
        with reporting_config_errors('test_dataloader.dataset.pipeline'):
            steps = with_load_rgb(Compose(pipeline_settings(config)))
        loaders = [s for s in steps.transforms if isinstance(s, LoadImageFromFile)]
        self._reader = next((s for s in loaders if isinstance(s, LoadRGB)), LoadRGB())
        self._of_files = steps
        self._of_pixels = Compose([s for s in steps.transforms if s not in loaders])
        self._channels = _channels_of(config)

    def __call__(self, image: ImageLike) -> dict:
        """Load and transform one image.

        Raises:
            UserError: the file cannot be read, the array is no image, or the model takes another
                number of channels.
        """
        if isinstance(image, str | Path):
            packed = self._of_file(str(image))
        else:
            packed = self._of_pixels(self._reader.loaded(read_pixels(image)))
        channels = len(packed['inputs'])
        if self._channels not in (None, channels):
            raise UserError(
                f'the model takes images of {self._channels} channel(s), its pipeline makes '
                f'{channels}: build the model with in_channels={channels}'
            )
        return packed

    def _of_file(self, path: str) -> dict:
        try:
            packed = self._of_files({'img_path': path})
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
            raise cannot_read(path, error) from error
        if packed is None:
            raise UserError(f'cannot read image {path}: the pipeline makes nothing of it')
        return packed


def read_pixels(image: ImageLike) -> np.ndarray:
    """Read an image by :func:`memba_vision.datasets.pixels.read_rgb`, with errors for users."""
    try:
        return read_rgb(image)
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(image, str | Path):
            raise
        raise cannot_read(_name_of(image), error) from error


def _name_of(image: ImageLike) -> str:
    """Return a name of an image for messages."""
    if isinstance(image, str | Path):
        return str(image)
    return f'of {len(image):,} bytes' if isinstance(image, bytes) else 'in memory'


def images_in_folder(folder: str | Path) -> tuple[list[str], str]:
    """Return the image files of a folder in the order of their paths, and a line on skipped ones.

    Folders in it are looked through too. An image is known as ``prepare_vtab1k.py build`` knows it:
    by its ending or, with any other ending or none, by its content. Hidden files and folders are
    left out. The line is empty where nothing is.

    Raises:
        UserError: there is no image.
    """
    skipped: list[SkippedEntry] = []
    images = sorted(walk_images(Path(folder), skipped))
    others = sorted(entry.path.relative_to(folder) for entry in skipped)
    if not images:
        raise UserError(
            f'{folder} holds no image: expected files of {", ".join(FORMATS)}, found '
            f'{len(others):,} other(s)'
        )
    named = ', '.join(shown(path) for path in others[:NAMED])
    more = ', …' if len(others) > NAMED else ''
    line = (
        f'{shown(folder)}: {len(images):,} image(s) taken, left out {len(others):,}: {named}{more}'
    )
    return [str(path) for path in images], line if others else ''


def expand_folders(images: Sequence[ImageLike], tell: Callable[[str], object]) -> list[ImageLike]:
    """Return the same images with :func:`images_in_folder` of it in the place of each folder.

    Args:
        images: paths of files and folders, and images in memory.
        tell: is called with a line where something of a folder is left out.
    """
    found = []
    for image in images:
        # Not Path's, for which the empty name is a folder.
        if isinstance(image, str | Path) and os.path.isdir(image):
            inside, skipped = images_in_folder(image)
            found += inside
            if skipped:
                tell(skipped)
        else:
            found.append(image)
    return found


def as_list(images: ImageLike | Sequence[ImageLike]) -> list[ImageLike]:
    """Return a list of one image, of an array of several, or of the images in another list."""
    several = (
        images.ndim == 4 if isinstance(images, np.ndarray) else isinstance(images, list | tuple)
    )
    return list(images) if several else [images]


def batches(
    pipeline: ImagePipeline,
    images: Sequence[ImageLike],
    batch_size: int,
    unreadable: dict[int, UserError] | None = None,
) -> Iterator[dict]:
    """Yield images as a model's ``test_step`` takes them, ``batch_size`` at a time.

    Args:
        pipeline: of the model.
        images: as the pipeline takes them.
        batch_size: images at a time.
        unreadable: gets the error of each image that cannot be read, by its place in ``images``,
            before the batch comes that it would be in; None raises the first one.

    Raises:
        UserError: an image cannot be read, or ``batch_size`` is not positive.
    """
    if not is_positive_integer(batch_size):
        raise UserError(f'batch_size must be at least 1, and whole, got {batch_size!r}')
    rest = _readable(pipeline, images, unreadable)
    while batch := list(islice(rest, batch_size)):
        yield pseudo_collate(batch)


def _readable(
    pipeline: ImagePipeline, images: Sequence[ImageLike], unreadable: dict[int, UserError] | None
) -> Iterator[dict]:
    for place, image in enumerate(images):
        try:
            packed = pipeline(image)
        except UserError as error:
            if unreadable is None:
                raise
            unreadable[place] = error
        else:
            yield packed


def file_names(images: Sequence[Any], endings: Collection[str] = ('',)) -> list[str]:
    """Return a name for each image, numbered where two have the same one.

    An image is called by its file's name without the ending, one in memory by its place.

    Args:
        images: as in :class:`ImagePipeline`.
        endings: texts behind each name, with which no two images have the same one either.
    """
    stems = [
        Path(image).stem if isinstance(image, str | Path) else str(place)
        for place, image in enumerate(images)
    ]
    if len({f'{stem}{e}' for stem in stems for e in endings}) == len(stems) * len(endings):
        return stems
    return [f'{number}_{stem}' for number, stem in enumerate(stems, 1)]


def pipeline_settings(config: Config) -> list[dict]:
    """Return the one pipeline of the test data, which may be wrapped.

    Raises:
        UserError: there is none, or there are several.
    """
    pipelines = list(pipelines_below(config.get('test_dataloader')))
    if not pipelines:
        raise UserError(
            'the config has no test_dataloader.dataset.pipeline, which says how images are read: '
            'give a config that has one'
        )
    if any(pipeline != pipelines[0] for pipeline in pipelines):
        raise UserError(
            f'the {len(pipelines)} datasets of test_dataloader read images by different pipelines: '
            'give a config with one of them'
        )
    return pipelines[0]


def _channels_of(config: Config) -> int | None:
    """Return the channels that a model's settings ask for; None where they do not say."""
    backbone = config.get('model', {}).get('backbone', {})
    return backbone.get('module', backbone).get('in_channels')
