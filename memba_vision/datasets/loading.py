"""Image loader for pipelines that takes the place of mmcv's."""

import mmcv.transforms
import numpy as np
from mmengine import fileio
from mmengine.dataset import Compose

from memba_vision.datasets.pixels import read_rgb
from memba_vision.datasets.wrapped_data import inner_datasets
from memba_vision.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadRGB(mmcv.transforms.LoadImageFromFile):
    """``LoadImageFromFile`` that reads by :func:`memba_vision.datasets.pixels.read_rgb`.

    Ordinary images come out with the very bits of mmcv's. In this package's datasets it takes
    mmcv's place, and in every run of this package: configs name ``LoadImageFromFile``, for which
    mmpretrain's own tools look. Where another dataset is run by those, it may name ``LoadRGB``.
    """

    def transform(self, results: dict) -> dict | None:
        """Add ``img``, ``img_shape`` and ``ori_shape`` of ``img_path``; None as mmcv's."""
        try:
            content = fileio.get(results['img_path'], backend_args=self.backend_args)
            return results | self.loaded(read_rgb(content))
        except Exception:
            if self.ignore_empty:
                return None
            raise

    def loaded(self, rgb: np.ndarray) -> dict:
        """Return ``img``, ``img_shape`` and ``ori_shape`` for RGB pixels, (height, width, 3) uint8.

        The image is blue, green, red, as mmcv has it.
        """
        image = np.ascontiguousarray(rgb[..., ::-1])
        if self.to_float32:
            image = image.astype(np.float32)
        return {'img': image, 'img_shape': image.shape[:2], 'ori_shape': image.shape[:2]}


def with_load_rgb(pipeline: Compose) -> Compose:
    """Return the pipeline with :class:`LoadRGB` in the place of mmcv's loader of colour images.

    A loader that is asked for something else stays: ``color_type`` other than 'color', the
    decoder 'tifffile', or a file client of mmengine 0.
    """
    return Compose([_reader_of(transform) for transform in pipeline.transforms])


def use_load_rgb(dataset: object) -> None:
    """Apply :func:`with_load_rgb` to a dataset, or to those that it wraps."""
    for inner in inner_datasets(dataset):
        if isinstance(getattr(inner, 'pipeline', None), Compose):
            inner.pipeline = with_load_rgb(inner.pipeline)


def _reader_of(transform: object) -> object:
    if type(transform) is not mmcv.transforms.LoadImageFromFile:
        return transform
    asks = (transform.color_type, transform.imdecode_backend == 'tifffile')
    if asks != ('color', False) or transform.file_client_args is not None:
        return transform
    return LoadRGB(
        to_float32=transform.to_float32,
        ignore_empty=transform.ignore_empty,
        backend_args=transform.backend_args,
    )
