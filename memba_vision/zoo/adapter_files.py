"""Files of trained adapters, written out of checkpoints of trainings."""

from pathlib import Path

import torch
from safetensors.torch import save

from memba_vision.engine.file_backend import write_atomically
from memba_vision.errors import UserError
from memba_vision.files import remove_checksum
from memba_vision.models.peft.adapter_files import BACKBONE, AdapterInfo, linear_head
from memba_vision.models.peft.model import HEADER, parse_header
from memba_vision.runs.record import folder_of_run
from memba_vision.runs.result import RESULT_FILE, Result, result_file_of
from memba_vision.runs.result_files import read_result
from memba_vision.weights import read_checkpoint, resolve


def write_adapter(checkpoint: str, out: str | Path) -> AdapterInfo:
    """Write adapters and head of a training checkpoint, with what its run's result says of them.

    Args:
        checkpoint: written by ``tools/train.py``; its run's ``result.json``, or what
            ``tools/test.py`` wrote beside it, is read if it is of this very file.
        out: the safetensors file.

    Raises:
        UserError: the checkpoint holds no adapters.
    """
    tensors = dict(read_checkpoint(checkpoint).get('state_dict', {}))
    if BACKBONE + HEADER not in tensors:
        raise UserError(
            f'{checkpoint} holds no adapters, or is an adapter file already: give a checkpoint '
            'that tools/train.py wrote for a config with a PEFTModel'
        )
    header = parse_header(tensors.pop(BACKBONE + HEADER))
    info = _describe(header, tensors, Path(checkpoint))
    remove_checksum(Path(out))
    write_atomically(
        out, save({k: v.contiguous() for k, v in tensors.items()}, metadata=info.as_metadata())
    )
    return info


def _describe(header: dict, tensors: dict[str, torch.Tensor], checkpoint: Path) -> AdapterInfo:
    known = dict(adapters=header['adapters'], base=header['base'], rounded=header.get('rounded'))
    known['classes'] = len(linear_head(tensors, str(checkpoint)))
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
