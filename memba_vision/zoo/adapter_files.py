"""Self-describing files of trained adapters, and models made of them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from memba_vision.engine.file_backend import write_atomically
from memba_vision.errors import UserError
from memba_vision.models.peft.model import HEADER, header_tensor, parse_header
from memba_vision.runs.record import folder_of_run
from memba_vision.runs.result import RESULT_FILE, Result, result_file_of
from memba_vision.runs.result_files import read_result
from memba_vision.weights import read_checkpoint, resolve

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


def write_adapter(checkpoint: str, out: str | Path) -> AdapterInfo:
    """Write adapters and head of a training checkpoint, with what its run's result says of them.

    Args:
        checkpoint: written by ``tools/train.py``; its run's ``result.json``, or what
            ``tools/test.py`` wrote beside it, is read if it is of this very file.
        out: the safetensors file.

    Raises:
        UserError: the checkpoint holds no adapters.
    """
    tensors = read_adapter_state(checkpoint)
    header = parse_header(tensors.pop(BACKBONE + HEADER))
    info = _describe(header, tensors, Path(checkpoint))
    write_atomically(
        out, save({k: v.contiguous() for k, v in tensors.items()}, metadata=info.as_metadata())
    )
    return info


def read_adapter_state(checkpoint: str) -> dict[str, torch.Tensor]:
    """Return the model of a training checkpoint: adapters, their header and the head.

    Raises:
        UserError: the checkpoint holds no adapters.
    """
    tensors = read_checkpoint(checkpoint).get('state_dict', {})
    if BACKBONE + HEADER not in tensors:
        raise UserError(
            f'{checkpoint} holds no adapters: give a checkpoint that tools/train.py wrote for a '
            'config with a PEFTModel'
        )
    return dict(tensors)


def _describe(header: dict, tensors: dict[str, torch.Tensor], checkpoint: Path) -> AdapterInfo:
    known = dict(adapters=header['adapters'], base=header['base'], rounded=header.get('rounded'))
    known['classes'] = len(tensors['head.fc.weight'])
    result = result_of(checkpoint)
    if result:
        return AdapterInfo(result.method, task=result.task, accuracy=result.top1, **known)
    return AdapterInfo(header['method'], **known)


def result_of(checkpoint: Path) -> Result | None:
    """Return what was measured with a checkpoint: the result of its run, or one of its own.

    Returns:
        The result of this very file; None where there is none beside it.
    """
    folder, file = folder_of_run(checkpoint.parent), resolve(str(checkpoint))
    paths = [folder / name for name in (RESULT_FILE, result_file_of(checkpoint))]
    results = (read_result(path) for path in paths if path.is_file())
    return next((result for result in results if result.is_of(file)), None)


def is_adapter_file(path: str | Path) -> bool:
    """Return True if a file has the header of an adapter; of linear probing it has no more."""
    try:
        with safe_open(resolve(str(path)), framework='pt') as file:
            return {'method', 'adapters', 'base'} <= (file.metadata() or {}).keys()
    except SafetensorError:  # of another format
        return False


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
