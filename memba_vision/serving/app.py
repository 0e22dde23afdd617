"""The demo app: an image in, its classes and membrane maps out, with adapters to switch."""

import html
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from memba_vision.engine.class_names import class_names
from memba_vision.engine.config_errors import reporting_config_errors
from memba_vision.engine.training_checkpoints import read_training_checkpoint
from memba_vision.errors import UserError
from memba_vision.files import escape_surrogates
from memba_vision.models.backbones.initialization import initialize_backbone
from memba_vision.models.peft import fold
from memba_vision.registry import MODELS
from memba_vision.runs.checkpoints import find_checkpoint
from memba_vision.runs.config import preprocessor_settings
from memba_vision.runs.record import has_record, read_config
from memba_vision.serving.bank import AdapterBank
from memba_vision.serving.images import ImagePipeline
from memba_vision.serving.visualize import (
    Subject,
    check_membranes,
    choose_layers,
    draw,
    trace_image,
    untrained_subject,
)
from memba_vision.visualization.page import CAPTIONS, figure_html
from memba_vision.zoo.adapter_files import write_adapter
from memba_vision.zoo.arguments import default_device, move_to_device

UNTRAINED = 'untrained Memba'
ABOUT = """# The membrane of Memba

Drop an image. You see what the model takes it for, and what its membranes do while it reads it.
"""
TRAIN_FIRST = """**No adapter was given:** this is the pre-trained backbone with an untrained Memba.
It has no classes. To see some, train one, which takes minutes, and start the app with its folder:

    python tools/train.py configs/demo/digits_memba.py
    python tools/app.py work_dirs/digits_memba
"""
NO_MEMBRANE = (
    '<p>There is nothing to draw: this adapter has no membrane, or its backbone does not say where '
    'its tokens are on the image.</p>'
)
# The pictures of the page, without its other looks.
STYLE = """
figure { margin: 0 } figure img { max-width: 100%; height: auto; margin-top: .5rem }
figcaption h3 { font-weight: 600 } figcaption p { max-width: 75ch; opacity: .8 }
"""


def load_subjects(
    sources: Sequence[str], config: Config, device: str | None = None
) -> dict[str, Subject]:
    """Return the models to choose from, by name: adapters that share one backbone.

    One adapter alone is folded into it.

    Args:
        sources: folders of runs, and adapter files; none stands for an untrained Memba.
        config: says which backbone it is, and how images are read for sources that lie in no run.
        device: the device; None takes a GPU if there is one.

    Raises:
        UserError: a source is missing, damaged, or of another backbone.
    """
    if not sources:
        subject = untrained_subject(config, device)
        check_membranes(subject)
        return {UNTRAINED: subject}
    bank = AdapterBank(_build_backbone(config, device))
    device = next(bank.backbone.parameters()).device
    subjects = {}
    for name, source in zip(_names(sources), sources, strict=True):
        classes = _add(bank, name, source)
        model = bank.model(name) if len(sources) > 1 else fold(bank.model(name))
        own = config_of([source]) or config
        preprocessor = _build_preprocessor(own).to(device)
        subjects[name] = Subject(name, model, preprocessor, ImagePipeline(own), classes)
    return subjects


def config_of(sources: Sequence[str]) -> Config | None:
    """Return the config of the first run that a source is or lies in; None where there is none."""
    paths = (Path(source) for source in sources)
    folders = (path if path.is_dir() else path.parent for path in paths)
    found = next((folder for folder in folders if has_record(folder)), None)
    return None if found is None else read_config(found)


def _build_backbone(config: Config, device: str | None) -> nn.Module:
    init_default_scope('mmpretrain')
    module = config.get('model', {}).get('backbone', {}).get('module')
    if module is None:
        raise UserError(f'{config.filename} adapts no backbone: name the config of a training')
    with reporting_config_errors('the backbone'):
        backbone = MODELS.build(module)
    initialize_backbone(backbone)
    backbone.eval()
    return move_to_device(backbone, device or default_device())


def _build_preprocessor(config: Config) -> nn.Module:
    with reporting_config_errors('the data preprocessor'):
        return MODELS.build({'type': 'ClsDataPreprocessor', **preprocessor_settings(config)})


def _add(bank: AdapterBank, name: str, source: str) -> list[str]:
    """Put an adapter into the bank; its classes."""
    if Path(source).suffix == '.safetensors':
        return [str(label) for label in range(bank.add(name, source).classes)]
    checkpoint = str(find_checkpoint(source))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'adapter.safetensors')
        write_adapter(checkpoint, path)
        info = bank.add(name, path)
    return class_names(read_training_checkpoint(checkpoint)['meta'], info.classes, checkpoint)


def _names(sources: Sequence[str]) -> list[str]:
    """Return the names of the sources: their last part, or all of it where two have the same."""
    names = [Path(source).resolve().name.removesuffix('.safetensors') for source in sources]
    differ = len(set(names)) == len(names)
    return [escape_surrogates(name) for name in (names if differ else sources)]


def build_app(subjects: dict[str, Subject]) -> Any:
    """Return the app as a ``gradio.Blocks``, not yet started.

    Raises:
        UserError: gradio is not installed.
    """
    gradio = _gradio()

    def answer(image: str | None, adapter: str, figure: str) -> tuple[dict[str, float] | None, str]:
        if image is None:
            return None, ''
        try:
            return describe(subjects[adapter], image, figure)
        except UserError as error:
            raise gradio.Error(str(error)) from error

    pictures = [(heading, key) for key, (heading, _) in CAPTIONS.items()]
    first = next(iter(subjects))
    with gradio.Blocks(title="Memba's membrane", delete_cache=(3600, 3600)) as app:
        gradio.Markdown(ABOUT)
        if first == UNTRAINED:
            gradio.Markdown(TRAIN_FIRST)
        with gradio.Row():
            with gradio.Column(scale=1):
                # Without a mode gradio hands the file on as it is; else it converts and compresses.
                image = gradio.Image(
                    type='filepath', image_mode=None, label='Image', sources=['upload'], height=280
                )
                adapter = gradio.Dropdown(list(subjects), value=first, label='Adapter')
                label = gradio.Label(label='Classes', visible=bool(subjects[first].classes))
            with gradio.Column(scale=3):
                figure = gradio.Radio(pictures, value=pictures[0][1], label='Picture')
                drawn = gradio.HTML()
        inputs = [image, adapter, figure]
        events = [item.change for item in inputs]
        # One at a time, as is gradio's default: what a hook sees belongs to one image.
        gradio.on(
            events, answer, inputs, [label, drawn], show_progress='minimal', concurrency_limit=1
        )
    return app


def describe(subject: Subject, image: str, figure: str) -> tuple[dict[str, float] | None, str]:
    """Return the probabilities of an image's classes, None if untrained, and a figure in HTML.

    Raises:
        UserError: the image cannot be read.
    """
    trace = trace_image(subject, image)
    classes = dict(trace.classes) or None
    if not trace.layers:
        return classes, NO_MEMBRANE
    title = f'<p>Adapter: <b>{html.escape(subject.title)}</b></p>'
    picture = draw(figure, [trace], choose_layers(len(trace.layers), ()))
    return classes, title + figure_html(figure, picture)


def serve(app: Any, host: str = '127.0.0.1', port: int | None = None) -> str:
    """Start the app beside what runs; nothing is shared, reported or fetched.

    Args:
        app: from :func:`build_app`.
        host: the address to listen on; the default is for this machine alone.
        port: None takes the first free one from 7860.

    Returns:
        Its address.

    Raises:
        UserError: the port is taken.
    """
    theme = _gradio().themes.Default(
        primary_hue='blue',
        font=('system-ui', 'sans-serif'),
        font_mono=('ui-monospace', 'monospace'),
    )
    try:
        _, url, _ = app.launch(
            server_name=host,
            server_port=port,
            share=False,
            ssr_mode=False,
            theme=theme,
            css=STYLE,
            footer_links=[],
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise UserError(f'cannot serve at {host}:{port or "7860 to 7959"}: {error}') from error
    return url


def _gradio() -> Any:
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    try:
        import gradio
    except ImportError as error:
        raise UserError(
            f"the app needs gradio ({error}): pip install 'memba_vision[app]'"
        ) from error
    return gradio
