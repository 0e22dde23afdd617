"""Models that others share: a folder, or a repository of the Hugging Face Hub.

It holds no code and no pickle: the adapters and the head as safetensors, whose header says what
they are, and a JSON file that names the backbone. The backbone's weights come from their own place.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import nn

from memba_vision.engine.class_names import check_number
from memba_vision.engine.training_checkpoints import load_training_checkpoint
from memba_vision.errors import UserError
from memba_vision.models.modules.patches import to_pair
from memba_vision.models.peft.adapter_files import read_adapter
from memba_vision.runs.base_models import architectures, read_base_model
from memba_vision.zoo.arguments import move_to_device
from memba_vision.zoo.models import build_classifier, use_own_data

ADAPTER, ABOUT = 'adapter.safetensors', 'memba_vision.json'
HUB = 'hf://'  # may begin a repository's name, and does where a run is asked for


@dataclass(frozen=True)
class About:
    """Content of a shared model's JSON file.

    Attributes:
        backbone: the name of a shipped model; None for another one.
        image_size: of the backbone, one number or height and width.
        classes: their names in the order of the labels; None where they have none.
        format: the version of this file.
    """

    backbone: str | None
    image_size: int | tuple[int, int]
    classes: list[str] | None
    format: int = 1

    def text(self) -> str:
        """Return the JSON file."""
        return f'{json.dumps(asdict(self), indent=1)}\n'


def is_shared(source: str | Path) -> bool:
    """Return True for a shared model's folder, and for ``hf://OWNER/NAME``."""
    return str(source).startswith(HUB) or (Path(source) / ABOUT).is_file()


def from_pretrained(
    source: str | Path,
    backbone: str | None = None,
    revision: str | None = None,
    device: str | torch.device | None = None,
) -> nn.Module:
    """Return the classifier that somebody shared, in evaluation mode, with its classes' names.

    Args:
        source: a repository of the Hugging Face Hub, ``OWNER/NAME`` or ``hf://OWNER/NAME``, or a
            folder that :func:`memba_vision.save_pretrained` wrote.
        backbone: a model of ``configs/_base_/models``, or a file like those, which is code; None
            takes the one that was shared by name.
        revision: a branch, tag or commit of the repository.
        device: the device of the model.

    Raises:
        UserError: it cannot be fetched, is no shared model, or does not fit the backbone.
    """
    folder = _folder(source, revision)
    about = _read(folder / ABOUT)
    tensors, info = read_adapter(folder / ADAPTER)
    config = read_base_model(_backbone_of(about, source, backbone))
    use_own_data(config, about.image_size)
    module = config.model.backbone.module
    config.model.backbone = dict(type='PEFTModel', adapters=info.adapters, module=module)
    config.model.head.num_classes = info.classes
    model = build_classifier(config)
    load_training_checkpoint(model, {'state_dict': tensors}, str(source))
    if about.classes is not None:
        check_number(about.classes, info.classes, str(source))
        model._dataset_meta = {'classes': about.classes}
    return move_to_device(model, device).eval()


def _folder(source: str | Path, revision: str | None) -> Path:
    """Return the folder of a shared model, fetched unless it is here."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import hf_hub_download

    name = str(source).removeprefix(HUB)
    with hub_errors(f'cannot fetch {name} from the Hugging Face Hub'):
        folder = Path(hf_hub_download(name, ABOUT, revision=revision)).parent
        hf_hub_download(name, ADAPTER, revision=folder.name)  # of the same commit
    return folder


@contextmanager
def hub_errors(failed: str) -> Iterator[None]:
    """Turn what the Hub's library raises into a UserError.

    Args:
        failed: the beginning of its text.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of its HTTP library, of the system, and its own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            f'{failed} ({type(error).__name__}: {" ".join(lines[:3])}): check the name, the '
            'network, and "hf auth login" where the repository wants it'
        ) from error


def _read(path: Path) -> About:
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        about = About(**{field.name: found.get(field.name) for field in fields(About)})
    except FileNotFoundError as error:
        raise UserError(
            f'{path.parent} is no shared model: it has no {ABOUT}, which memba_vision.'
            'save_pretrained writes; of a run, take memba_vision.load_trained'
        ) from error
    except (ValueError, AttributeError) as error:
        raise UserError(f'{path} cannot be read ({error})') from error
    if about.format != About.format:
        raise UserError(
            f'{path} is of format {about.format!r}, and {About.format} is known here: update '
            'memba_vision, or fetch it again'
        )
    try:
        to_pair(about.image_size, 'image_size')
    except UserError as error:
        raise UserError(f'{path} is damaged: {error}') from error
    names = [] if about.classes is None else about.classes
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f'{path} is damaged: its classes are no names')
    return about


def _backbone_of(about: About, source: str | Path, given: str | None) -> str:
    """Return the name of a backbone. Nobody else's file may choose a file to run."""
    if given is not None:
        return given
    if about.backbone in architectures():
        return about.backbone
    named = 'none' if about.backbone is None else repr(about.backbone)
    raise UserError(
        f'{source} names {named} of the backbones that are known here, '
        f'{", ".join(architectures())}: give backbone=FILE.py, like those of configs/_base_/models'
    )
