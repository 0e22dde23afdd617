"""From what a user has, a path or an image in memory, to what a model's data loader would make."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from memba_vision.datasets.loading import LoadRGB, with_one_reader
from memba_vision.datasets.pixels import IMAGE_ENDINGS, ImageLike, cannot_read, read_rgb
from memba_vision.engine.runner import building
from memba_vision.errors import UserError

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
        data = (config.get('test_dataloader') or {}).get('dataset', {})
        if 'pipeline' not in data:
            raise UserError(
                'the config has no test_dataloader.dataset.pipeline, which says how images are '
                'read: give a config that has one'
            )
        with building('test_dataloader.dataset.pipeline'):
            steps = with_one_reader(Compose(data.pipeline))
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
    """:func:`memba_vision.datasets.pixels.read_rgb` with errors for users."""
    try:
        return read_rgb(image)
    except Exception as error:
        if isinstance(error, UserError) and not isinstance(image, str | Path):
            raise
        raise cannot_read(_name_of(image), error) from error


def _name_of(image: ImageLike) -> str:
    """What a message calls an image."""
    if isinstance(image, str | Path):
        return str(image)
    return f'of {len(image):,} bytes' if isinstance(image, bytes) else 'in memory'


def images_in(folder: str | Path) -> tuple[list[str], str]:
    """The image files of a folder in the order of their names, and in a line what is left out.

    An image is known by its name's ending. Hidden files and what lies in folders of the folder are
    left out. The line is empty where nothing is.

    Raises:
        UserError: there is no image.
    """
    paths = sorted(Path(folder).iterdir())
    images = [str(path) for path in paths if _is_image(path)]
    others = [path.name for path in paths if not _is_image(path)]
    if not images:
        raise UserError(
            f'{folder} holds no image: expected files that end in {", ".join(IMAGE_ENDINGS)}, '
            f'found {len(others):,} other(s)'
        )
    if not others:
        return images, ''
    named = ', '.join(others[:NAMED]) + (', …' if len(others) > NAMED else '')
    return images, f'{folder}: {len(images):,} image(s) taken, left out {len(others):,}: {named}'


def with_folders_open(paths: Sequence[str], tell: Callable[[str], object]) -> list[str]:
    """The paths with :func:`images_in` of it in the place of each folder.

    Args:
        paths: of files and folders.
        tell: is called with a line where something of a folder is left out.
    """
    images = []
    for path in paths:
        if os.path.isdir(path):  # not Path's, for which the empty name is a folder
            found, left_out = images_in(path)
            images += found
            if left_out:
                tell(left_out)
        else:
            images.append(path)
    return images


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith('.')
    return path.suffix.lower() in IMAGE_ENDINGS and not hidden and path.is_file()


def file_names(images: Sequence[Any]) -> list[str]:
    """A name for each image, numbered where two have the same one.

    An image is called by its file's name without the ending, one in memory by its place.
    """
    stems = [
        Path(image).stem if isinstance(image, str | Path) else str(place)
        for place, image in enumerate(images)
    ]
    if len(set(stems)) == len(stems):
        return stems
    return [f'{number}_{stem}' for number, stem in enumerate(stems, 1)]


def _channels_of(config: Config) -> int | None:
    """The channels that a model's settings ask for; None where they do not say."""
    backbone = config.get('model', {}).get('backbone', {})
    return backbone.get('module', backbone).get('in_channels')
