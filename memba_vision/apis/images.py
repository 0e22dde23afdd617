"""From what a user has, a path or an image in memory, to what a model's data loader would make."""

from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image, ImageOps

from memba_vision.engine.runner import building, one_line
from memba_vision.errors import UserError

#: A path, a Pillow image, or (height, width, 3) uint8 in the order red, green, blue.
ImageLike = str | Path | Image.Image | np.ndarray

BEHIND_TRANSPARENCY = (124, 117, 104)  # what mmcv's loader puts behind grey images with alpha


class ImagePipeline:
    """The transforms of a config's test data.

    Args:
        config: of a model, with ``test_dataloader.dataset.pipeline``.

    Raises:
        UserError: the transforms cannot be built.
    """

    def __init__(self, config: Config) -> None:
        init_default_scope('mmpretrain')
        steps = config.test_dataloader.dataset.pipeline
        with building('test_dataloader.dataset.pipeline'):
            self._of_files = Compose(steps)
            self._of_arrays = Compose([s for s in steps if s['type'] != 'LoadImageFromFile'])

    def __call__(self, image: ImageLike) -> dict:
        """Load and transform one image.

        Raises:
            UserError: the file cannot be read, or the array is no image.
        """
        if isinstance(image, Image.Image):
            image = as_rgb(image)
        if isinstance(image, np.ndarray):
            return self._of_arrays(_as_loaded(image))
        try:
            return self._of_files({'img_path': str(image)})
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
            raise UserError(
                f'cannot read image {image} ({one_line(error) or type(error).__name__}): give an '
                'intact image file'
            ) from error


def as_rgb(image: Image.Image) -> np.ndarray:
    """(height, width, 3) uint8, as mmcv's loader has it of a file: upright, and opaque."""
    image = ImageOps.exif_transpose(image)
    if image.mode == 'LA':
        canvas = Image.new('RGB', image.size, BEHIND_TRANSPARENCY)
        canvas.paste(image.convert('RGB'), mask=image.getchannel('A'))
        return np.asarray(canvas)
    return np.asarray(image.convert('RGB'))


def _as_loaded(image: np.ndarray) -> dict:
    """What mmcv's loader yields: blue, green, red, and the sizes."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(
            f'an image as an array is (height, width, 3) of uint8 in the order red, green, blue; '
            f'got {image.shape} of {image.dtype}'
        )
    bgr = np.ascontiguousarray(image[..., ::-1])
    return {'img': bgr, 'img_shape': bgr.shape[:2], 'ori_shape': bgr.shape[:2]}
