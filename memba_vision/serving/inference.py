"""Classes of images by a model, and the features that it sees in them."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from torch import nn

from memba_vision.datasets.pixels import ImageLike
from memba_vision.engine.class_names import check_names, check_number
from memba_vision.errors import UserError
from memba_vision.files import check_output_path
from memba_vision.models.peft import fold
from memba_vision.serving.images import (
    ImagePipeline,
    as_list,
    batches,
    expand_folders,
    file_names,
    read_pixels,
)
from memba_vision.serving.predict import load_trained
from memba_vision.zoo.arguments import move_to_device
from memba_vision.zoo.models import get_model


class Inferencer(ImageClassificationInferencer):
    """mmpretrain's inferencer, for images in memory too, with the decoding of the training.

    Args:
        model: of :func:`memba_vision.get_model` or :func:`memba_vision.load_trained`, or for short
            the path of a checkpoint that ``tools/train.py`` wrote, or a model's name with its
            official weights. What it loads itself it folds; a model that is given is taken as it
            is, since it may go on training: :func:`memba_vision.fold` folds it.
        device: the device of the model.
        classes: names in place of those that the model brings along, one for each output of the
            head.

    Raises:
        UserError: the model cannot be built or loaded, there is no such device, or ``classes`` are
            more or fewer than its outputs, or its own names in another order.
    """

    def __init__(
        self,
        model: nn.Module | str | Path,
        device: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if isinstance(model, str | Path):
            is_path = isinstance(model, Path) or Path(model).exists() or not _may_be_name(model)
            model = fold(load_trained(model) if is_path else get_model(model, pretrained=True))
        if not hasattr(model, '_config'):
            raise UserError(
                'model is a path, a name of memba_vision.list_models(), or what '
                f'memba_vision.get_model or load_trained returns; got {type(model).__name__}'
            )
        if classes is not None:
            classes = classes if isinstance(classes, str) else [str(name) for name in classes]
            check_number(classes, model.head.num_classes, 'classes=…')
            own = getattr(model, '_dataset_meta', {}).get('classes', classes)
            check_names(own, classes, 'the classes of the model and those given', renamed=True)
        super().__init__(move_to_device(model, device), pretrained=False, classes=classes)
        if self.classes is None:
            self.classes = [str(label) for label in range(model.head.num_classes)]

    def __call__(
        self,
        inputs: ImageLike | Sequence[ImageLike],
        return_datasamples: bool = False,
        batch_size: int = 32,
        **kwargs: Any,
    ) -> list:
        """Classify.

        Args:
            inputs: a path, a folder (its images in the order of their paths; a warning says what
                is left out), the bytes of a file, a Pillow image, an array as
                :func:`memba_vision.datasets.pixels.read_rgb` takes it or several of them,
                (images, height, width, channels), or a list of these.
            return_datasamples: yield mmpretrain's DataSample objects instead.
            batch_size: images at a time.
            **kwargs: of mmpretrain's inferencer, such as ``show_dir``, a folder that gets a PNG
                of each image with its class.

        Returns:
            For each image a dict with ``pred_label``, ``pred_class``, ``pred_score``, and
            ``pred_scores``, the probabilities of all classes.

        Raises:
            UserError: an image cannot be read, the model takes another number of channels, or
                ``batch_size`` is not positive.
        """
        *_, visualize_kwargs, postprocess_kwargs = self._dispatch_kwargs(**kwargs)
        images = self._inputs_to_list(inputs)
        samples = [s for batch in self.preprocess(images, batch_size) for s in self.forward(batch)]
        pictures = self.visualize(images, samples, **visualize_kwargs)
        return self.postprocess(samples, pictures, return_datasamples, **postprocess_kwargs)

    def preprocess(self, inputs: Sequence[ImageLike], batch_size: int = 1) -> Iterator[dict]:
        """Yield batches as the model's ``test_step`` takes them."""
        yield from batches(self.pipeline, inputs, batch_size)

    def visualize(
        self,
        images: Sequence[ImageLike],
        samples: Sequence[DataSample],
        show: bool = False,
        show_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> list[np.ndarray] | None:
        """Draw the answers on the images as the model read them; None if nobody wants to see."""
        if not show and show_dir is None:
            return None
        if self.visualizer is None:
            self.visualizer = UniversalVisualizer()
        if show_dir is not None:
            check_output_path(Path(show_dir, 'image.png'))
        pictures = []
        for name, image, sample in zip(file_names(images), images, samples, strict=True):
            out = None if show_dir is None else str(Path(show_dir, f'{name}.png'))
            named = dict(classes=self.classes, name=name, out_file=out, show=show)
            self.visualizer.visualize_cls(
                read_pixels(image), sample, draw_gt=False, **named, **kwargs
            )
            pictures.append(self.visualizer.get_image())
        if show:
            self.visualizer.close()
        return pictures

    def _init_pipeline(self, cfg: Config) -> ImagePipeline:
        return ImagePipeline(cfg)

    def _inputs_to_list(self, inputs: Any) -> list:
        return expand_folders(as_list(inputs), partial(warnings.warn, stacklevel=4))


@torch.no_grad()
def extract_features(
    model: nn.Module, images: ImageLike | Sequence[ImageLike], batch_size: int = 32
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Return the input of the classifier's head: the backbone's output, behind the neck if any.

    Args:
        model: of :func:`memba_vision.get_model` or :func:`memba_vision.load_trained`. Its
            ``out_type`` and ``out_indices`` decide on what comes out: by default the class token
            behind the last block.
        images: as for :class:`Inferencer`, folders aside.
        batch_size: images at a time.

    Returns:
        (images, embed_dims), on the CPU; a tuple of these for several ``out_indices``.

    Raises:
        UserError: there is no image, one cannot be read, or ``batch_size`` is not positive.
    """
    found = []
    with _evaluating(model):
        for batch in batches(ImagePipeline(model._config), as_list(images), batch_size):
            inputs = model.data_preprocessor(batch, False)['inputs']
            found.append([feature.cpu() for feature in model.extract_feat(inputs)])
    if not found:
        raise UserError('there is no image to extract features of')
    joined = tuple(torch.cat(features) for features in zip(*found, strict=True))
    return joined[0] if len(joined) == 1 else joined


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _may_be_name(text: str) -> bool:
    """Return False for a text that is a path: it has an ending, or folders in it."""
    return not Path(text).suffix and Path(text).name == text
