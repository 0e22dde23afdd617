"""Self-describing files of trained adapters, and what they hold."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from memba_vision.errors import UserError
from memba_vision.models.peft.model import HEADER, header_tensor
from memba_vision.weights import are_of_adapters, read_checkpoint, resolve

BACKBONE = 'backbone.'


@dataclass(frozen=True)
class AdapterInfo:
    """The header of an adapter file.

    Attributes:
        method: the method, as in tables of results.
        adapters: the adapters with all their settings.
        base: fingerprint of the frozen weights that it was trained over.
        classes: outputs of the head.
        task: the task it was trained on; None where that is not known.
        accuracy: top-1 on the task's test split, in percent; None where it was not measured.
        rounded: fingerprint of the base in any precision, for images of any size; None in files of
            an older version.
    """

    method: str
    adapters: list[dict]
    base: str
    classes: int
    task: str | None = None
    accuracy: float | None = None
    rounded: dict | None = None

    def as_metadata(self) -> dict[str, str]:
        """Return the metadata for safetensors: text by name, in JSON unless the value is text."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in values.items()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> 'AdapterInfo':
        """Return the inverse of :meth:`as_metadata`; a missing or damaged entry raises."""
        accuracy = metadata.get('accuracy')
        return cls(
            method=metadata['method'],
            adapters=json.loads(metadata['adapters']),
            base=metadata['base'],
            classes=int(metadata['classes']),
            task=metadata.get('task'),
            accuracy=None if accuracy is None else float(accuracy),
            rounded=json.loads(metadata.get('rounded', 'null')),
        )


def holds_adapters(path: str | Path, names: Iterable[str]) -> bool:
    """Return True if a file, which has tensors of these names, is of adapters in any format."""
    return are_of_adapters(names) or is_adapter_file(path)


def is_adapter_file(path: str | Path) -> bool:
    """Return True if a file has the header of an adapter; of linear probing it has no more."""
    try:
        with safe_open(resolve(str(path)), framework='pt') as file:
            return {'method', 'adapters', 'base'} <= (file.metadata() or {}).keys()
    except SafetensorError:  # of another format
        return False


def linear_head(tensors: Mapping[str, torch.Tensor], source: str) -> torch.Tensor:
    """Return the weight of a classifier's linear head, (classes, channels).

    Args:
        tensors: state dict of the classifier.
        source: its file, for the error's text.

    Raises:
        UserError: it has none.
    """
    if 'head.fc.weight' not in tensors:
        found = ', '.join(name for name in tensors if not name.startswith(BACKBONE)) or 'no head'
        raise UserError(
            f'{source}: an adapter file goes with a LinearClsHead, whose weight is head.fc.weight, '
            f'found {found}: train with model.head.type=LinearClsHead'
        )
    return tensors['head.fc.weight']


def read_adapter(path: str | Path) -> tuple[dict[str, torch.Tensor], AdapterInfo]:
    """Read an adapter file.

    Returns:
        The state dict of the classifier, to be loaded into one with the same adapters over the
        same base, and the file's header.

    Raises:
        UserError: it is no adapter file.
    """
    tensors = read_checkpoint(str(path))
    try:
        with safe_open(resolve(str(path)), framework='pt') as file:
            info = AdapterInfo.from_metadata(file.metadata() or {})
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(
            f'{path} is no adapter file ({type(error).__name__}: {error}): make one with '
            '"python tools/export.py CHECKPOINT OUT.safetensors --as adapter"'
        ) from error
    header = {key: getattr(info, key) for key in ('method', 'adapters', 'base', 'rounded')}
    return {**tensors, BACKBONE + HEADER: header_tensor(header)}, info
