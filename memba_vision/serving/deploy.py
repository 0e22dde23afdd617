"""Models as graphs that run without this package: ONNX, and torch.export's own format."""

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from memba_vision.engine.config_errors import one_line
from memba_vision.engine.file_backend import write_atomically
from memba_vision.errors import UserError
from memba_vision.files import check_output_file
from memba_vision.models.modules.patches import Size, input_size, to_pair
from memba_vision.models.peft import FoldedBackbone, fold
from memba_vision.serving.images import pipeline_settings

#: The formats, and how their files' names end.
SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}
#: Tolerated difference of the graph's logits from the model's.
TOLERANCE = 1e-4
METADATA = 'memba_vision.json'
LOADERS = (['LoadImageFromFile'], ['LoadRGB'])


class LogitsOfImages(nn.Module):
    """Exported part of a classifier: from normalised images to logits.

    Args:
        classifier: mmpretrain's. It is copied; adapters are folded into the weights of the copy as
            far as they can be, and a membrane stays as the gate.

        size: height and width of the images; None stands for those of the backbone.

    Attributes:
        stays: for each adapter that is not folded, why.
    """

    def __init__(self, classifier: nn.Module, size: Size | None = None) -> None:
        super().__init__()
        backbone = fold(classifier).backbone
        is_folded = isinstance(backbone, FoldedBackbone)
        self.stays: list[str] = backbone.stays if is_folded else []
        self.backbone = copy.deepcopy(backbone.module if is_folded else backbone)
        self.neck = copy.deepcopy(classifier.neck) if classifier.with_neck else nn.Identity()
        self.head = copy.deepcopy(classifier.head)
        self.size = size or input_size(self.backbone)
        self.cpu().eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify (batch, channels, height, width) as (batch, classes)."""
        return self.head(self.neck(self.backbone(images)))


def deploy(
    classifier: nn.Module,
    out: str | Path,
    file_format: str,
    tell: Callable[[str], object] = lambda line: None,
) -> str:
    """Write a classifier as a graph, run it on a few batches, and compare.

    Args:
        classifier: of :func:`memba_vision.load_trained` or :func:`memba_vision.get_model`.
        out: the file, ending as ``SUFFIXES`` says.
        file_format: 'onnx' or 'torch-export'.
        tell: called with a line at the beginning of each step that takes a while.

    Returns:
        A line on the file, and a line on each part of the method that was not merged.

    Raises:
        UserError: the format or the file's ending is not known, a package is missing, the method
            cannot be traced, or the graph's logits differ.
    """
    _check_format(out, file_format)
    check_output_file(out)
    if file_format == 'onnx':
        _check_packages()
    metadata = describe(classifier)
    width, height = metadata['size']
    model = LogitsOfImages(classifier, (height, width))
    tell('1 of 3: tracing the model')
    program = trace(model)
    tell(f'2 of 3: making a graph in the format {file_format}')
    if file_format == 'onnx':
        content = _as_onnx(program, metadata)
        run = _run_onnx
    else:
        content = _as_torch_export(program, metadata)
        run = _run_torch_export
    tell('3 of 3: comparing its answers with those of the model')
    difference = _largest_difference(run(content), model)
    if not difference <= TOLERANCE:
        raise UserError(
            f'{out} was not written: its logits differ from those of the model by '
            f'{difference:.2g}, more than {TOLERANCE:.0e}: please report the config of the model'
        )
    write_atomically(out, content)
    line = f'{out}: {len(content):,} bytes; logits differ by {difference:.1g} at most'
    return '\n'.join([line, *(f'stays as it is: {reason}' for reason in model.stays)])


def describe(classifier: nn.Module) -> dict[str, Any]:
    """Describe the graph's use: the preprocessing of an image, and the classes.

    Raises:
        UserError: the preprocessing is none that the description has words for.
    """
    config, scaling = classifier._config, classifier.data_preprocessor
    resize = _resize_of(config)
    number, channels = classifier.head.num_classes, _channels_of(classifier.backbone)
    order = 'grey' if channels == 1 else 'RGB' if scaling.to_rgb else 'BGR'
    return {
        'input': f'images: (batch, {channels}, height, width) float32; (pixel - mean) / std of '
        f'{order} pixels from 0 to 255',
        'output': 'logits: (batch, classes) float32, before the softmax',
        'size': list(to_pair(resize['scale'], 'scale')),
        'interpolation': resize.get('interpolation', 'bilinear'),
        'backend': resize.get('backend', 'cv2'),
        'mean': getattr(scaling, 'mean', torch.zeros(channels)).flatten().tolist(),
        'std': getattr(scaling, 'std', torch.ones(channels)).flatten().tolist(),
        'classes': list(classifier._dataset_meta.get('classes') or map(str, range(number))),
    }


def _resize_of(config: Config) -> dict:
    steps = pipeline_settings(config)
    kinds = [_name_of(step) for step in steps]
    as_described = kinds[:1] in LOADERS and kinds[1:] == ['Resize', 'PackInputs']
    if not as_described or _follows_image(steps[1]):
        raise UserError(
            'the test pipeline of the config is not "load, resize to one size, pack", so its '
            'preprocessing cannot be described in the file: it is '
            + ', '.join(_name_of(step) + _follows_image(step) for step in steps)
        )
    return steps[1]


def _name_of(step: dict) -> str:
    return str(step['type']).removeprefix('mmpretrain.').removeprefix('mmcv.')


def _follows_image(step: dict) -> str:
    """Return the setting by which images have several sizes behind a step, '' without one."""
    if _name_of(step) != 'Resize':
        return ''
    if step.get('keep_ratio'):
        return ' with keep_ratio'
    return ' without scale' if step.get('scale') is None else ''


def _channels_of(backbone: nn.Module) -> int:
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    return first.in_channels


def trace(model: LogitsOfImages) -> torch.export.ExportedProgram:
    """Return the graph of a model, for any number of images.

    Raises:
        UserError: torch is too old, or the method cannot be traced.
    """
    if not hasattr(torch.compiler, 'is_exporting'):
        raise UserError('exporting needs torch 2.7 or newer: pip install -U torch')
    shapes = {'images': {0: torch.export.Dim('batch')}}
    try:
        return torch.export.export(model, (_images(model, 2),), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # torch raises nearly anything on what it cannot trace
        if 'specialized it to be a constant' in str(error):
            kind = type(model.backbone).__name__
            raise UserError(
                f'{kind} cannot be exported: its code fixes the number of images in a batch; try '
                "the same architecture of timm, with the backbone's type='TimmModel'"
            ) from error
        height, width = model.size
        raise UserError(
            f'this method cannot be exported for images of {height} x {width} pixels: '
            f'{type(error).__name__}: {one_line(error)}'
        ) from error


def _images(model: LogitsOfImages, number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(number, _channels_of(model.backbone), *model.size, generator=generator)


def _as_torch_export(program: torch.export.ExportedProgram, metadata: dict) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})
    return file.getvalue()


def _run_torch_export(content: bytes) -> Any:
    return torch.export.load(io.BytesIO(content)).module()


def _as_onnx(program: torch.export.ExportedProgram, metadata: dict) -> bytes:
    # onnxruntime simplifies the graph when it loads it; the exporter would take minutes.
    exported = torch.onnx.export(
        program,
        dynamo=True,
        optimize=False,
        verbose=False,
        input_names=['images'],
        output_names=['logits'],
    )
    proto = exported.model_proto
    for part in (*proto.graph.node, *proto.graph.value_info):
        part.ClearField('metadata_props')  # source lines of this machine
    for key, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        proto.metadata_props.add(key=key, value=text)
    return proto.SerializeToString()


def _run_onnx(content: bytes) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])

    def run(images: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(session.run(None, {'images': images.numpy()})[0]))

    return run


def _check_format(out: str | Path, file_format: str) -> None:
    if file_format not in SUFFIXES:
        raise UserError(f'unknown format {file_format!r}: choose one of {", ".join(SUFFIXES)}')
    if Path(out).suffix != SUFFIXES[file_format]:
        raise UserError(f'{out}: the name must end in {SUFFIXES[file_format]}')


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--as onnx needs {error.name}: pip install 'memba_vision[deploy]'"
        ) from error


@torch.no_grad()
def _largest_difference(run: Any, model: LogitsOfImages) -> float:
    batches = [_images(model, number) for number in (1, 3)]
    # Not Python's max: it passes over a nan.
    return float(torch.stack([(run(i) - model(i)).abs().max() for i in batches]).max())
