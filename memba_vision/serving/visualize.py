"""Figures of a trained model's membranes on images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

from memba_vision.errors import UserError
from memba_vision.files import encode_surrogates, escape_surrogates, write_atomically
from memba_vision.models.peft import fold
from memba_vision.serving.images import ImagePipeline, file_names
from memba_vision.serving.predict import Predictor
from memba_vision.visualization import figures
from memba_vision.visualization.maps import block_grids
from memba_vision.visualization.page import Picture, Section, make_page
from memba_vision.visualization.trace import ImageTrace, find_membranes, trace_layer, watching
from memba_vision.zoo.arguments import default_device, move_to_device
from memba_vision.zoo.models import build_classifier

LAYERS_SHOWN = {1: 4, 2: 3}  # by the number of models side by side
TOP = 3


@dataclass(frozen=True)
class Subject:
    """A model to look into.

    Attributes:
        title: its name on pages.
        model: a classifier of an adapted backbone, in evaluation mode.
        preprocessor: normalises what the pipeline yields.
        pipeline: reads an image file.
        classes: names of the classes; empty where the head is not trained.
    """

    title: str
    model: nn.Module
    preprocessor: nn.Module
    pipeline: ImagePipeline
    classes: Sequence[str] = ()

    @property
    def backbone(self) -> nn.Module:
        """The backbone with its adapters."""
        return self.model.backbone.module


def trained_subject(checkpoint: str, config: Config | None, device: str | None) -> Subject:
    """Build the subject that ``tools/train.py`` trained, as :class:`.predict.Predictor` does."""
    found = Predictor(checkpoint, config, device)
    path = Path(checkpoint)
    title = f'{path.parent.name}/{path.name}' if path.parent.name else path.name
    title = escape_surrogates(title)
    return Subject(title, found.model, found.model.data_preprocessor, found.pipeline, found.classes)


def untrained_subject(config: Config, device: str | None) -> Subject:
    """Return the model of a config with its pre-trained backbone, before any training."""
    torch.manual_seed(0)
    model = fold(move_to_device(build_classifier(config), device or default_device()).eval())
    return Subject('untrained', model, model.data_preprocessor, ImagePipeline(config))


def check_membranes(subject: Subject) -> None:
    """Raise a UserError where the model has no membrane that can be put on an image."""
    backbone = getattr(subject.model.backbone, 'module', None)
    if backbone is None or not find_membranes(backbone):
        adapters = getattr(subject.model.backbone, 'header', {}).get('adapters', [])
        names = ', '.join(adapter['type'] for adapter in adapters) or 'none'
        raise UserError(
            f'{subject.title}: this model has no membrane (its adapters: {names}); give one that '
            'was adapted with Memba, such as configs/demo/digits_memba.py'
        )
    block_grids(backbone)


@torch.no_grad()
def trace_image(subject: Subject, image: str) -> ImageTrace:
    """Show a model an image, and note what its membranes do, if they can be put on the image.

    Raises:
        UserError: the image cannot be read.
    """
    batch = pseudo_collate([subject.pipeline(image)])
    inputs = subject.preprocessor(batch, False)['inputs']
    layers = []
    with watching(subject.backbone, lambda call: layers.append(trace_layer(call))):
        scores = subject.model(inputs)[0].float().softmax(-1).cpu()
    membranes = find_membranes(subject.backbone)
    try:
        grids = block_grids(subject.backbone, tuple(inputs.shape[-2:])) if membranes else []
    except UserError:  # nothing to draw on, but there are classes all the same
        membranes, layers, grids = {}, [], []
    chunks = [gate.membrane.settings.num_chunks for gate in membranes.values()]
    return ImageTrace(
        title=subject.title,
        pixels=_pixels(inputs, subject.preprocessor),
        classes=_most_probable(scores, subject.classes),
        num_chunks=chunks[0] if chunks else 1,
        layers=tuple(layers),
        grids=tuple(grids[number] for number in membranes),
    )


def _pixels(inputs: torch.Tensor, preprocessor: nn.Module) -> torch.Tensor:
    """Return the first image of a normalised batch, (height, width, 3) from 0 to 1."""
    image = inputs[0].float()
    if hasattr(preprocessor, 'mean'):
        image = image * preprocessor.std + preprocessor.mean
    return (image / 255).clamp(0, 1).permute(1, 2, 0).cpu()


def _most_probable(scores: torch.Tensor, classes: Sequence[str]) -> tuple[tuple[str, float], ...]:
    best = scores.topk(min(TOP, len(classes)))
    return tuple((classes[i], p) for p, i in zip(*(t.tolist() for t in best), strict=True))


def choose_layers(count: int, wanted: Sequence[int], models: int = 1) -> list[int]:
    """Return the blocks to show, each once and from first to last.

    Args:
        count: blocks that there are.
        wanted: their numbers, from 0, or from the end where negative; none stands for a few,
            evenly from the first to the last.
        models: number of models side by side.

    Raises:
        UserError: there is no such block.
    """
    if not wanted:
        return (
            np.linspace(0, count - 1, min(count, LAYERS_SHOWN[models])).round().astype(int).tolist()
        )
    for layer in wanted:
        if not -count <= layer < count:
            raise UserError(f'--layers {layer}: the model has the layers 0 to {count - 1}')
    return sorted({layer % count for layer in wanted})


def write_page(
    subjects: Sequence[Subject], images: Sequence[str], wanted: Sequence[int], out: str | Path
) -> Path:
    """Write the figures of every image, and a page that shows and explains them.

    Args:
        subjects: one model, or two to compare.
        images: paths of image files.
        wanted: the blocks to show; see :func:`choose_layers`.
        out: the folder; it gets ``index.html``, which needs no other file, and the figures as PNG.

    Returns:
        The page.

    Raises:
        UserError: a model has no membrane or no such block, or an image cannot be read.
    """
    for subject in subjects:
        check_membranes(subject)
    count = min(len(find_membranes(subject.backbone)) for subject in subjects)
    layers = choose_layers(count, wanted, len(subjects))
    sections, endings = [], [f'_{key}' for key in figures.FIGURES]
    for name, image in zip(file_names(images, endings), images, strict=True):
        traces = [trace_image(subject, image) for subject in subjects]
        pictures = {key: draw(key, traces, layers) for key in figures.FIGURES}
        for key, picture in pictures.items():
            write_atomically(Path(out, f'{name}_{key}.png'), picture.light)
        sections.append(Section(escape_surrogates(Path(image).name), tuple(traces), pictures))
    path = Path(out, 'index.html')
    write_atomically(path, encode_surrogates(make_page(sections, [_describe(s) for s in subjects])))
    return path


def draw(name: str, traces: Sequence[ImageTrace], layers: Sequence[int]) -> Picture:
    """One of ``FIGURES`` for light and dark pages."""
    make = figures.FIGURES[name]
    return Picture(*(figures.as_png(make(traces, layers, t), t) for t in figures.THEMES))


def _describe(subject: Subject) -> dict[str, str]:
    """The settings of a model that a reader has to know, by name."""
    gate = next(iter(find_membranes(subject.backbone).values()))
    settings = gate.membrane.settings
    on_lora = hasattr(gate, 'up')
    return {
        'model': subject.title,
        'membrane on': "LoRA's hidden activations" if on_lora else 'the whole gate',
        'chunks (T)': str(settings.num_chunks),
        'leak': f'{settings.leak:g}',
        'threshold': f'{settings.threshold:g}',
        'passes its mean on to the next layer': 'yes' if gate.membrane.cross_layer else 'no',
    }
