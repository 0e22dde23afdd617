"""Reading weights safely, loading them strictly, and telling one set from another.

Every file of weights that this project opens goes through :func:`read_checkpoint`.
"""

import argparse
import hashlib
import os
import pickle
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors.torch import load_file
from torch import nn

from memba_vision.download import download
from memba_vision.errors import UserError
from memba_vision.files import check_record, write_atomically

PACKAGE_SCHEME = 'memba_vision://'
# Published checkpoints of the DeiT family keep their command line beside the weights.
_HARMLESS_TYPES = [argparse.Namespace]


def resolve(location: str) -> Path:
    """The local file that ``location`` stands for; a web address is downloaded once and kept.

    Args:
        location: a path, ``memba_vision://NAME`` for weights that come with the package, or an
            http(s) address, kept in torch's hub folder (``TORCH_HOME``).

    Raises:
        UserError: there is no such file, or the download failed.
    """
    if location.startswith(PACKAGE_SCHEME):
        shipped = resources.files('memba_vision') / 'pretrained'
        path = Path(str(shipped / location.removeprefix(PACKAGE_SCHEME)))
    elif urlparse(location).scheme in ('http', 'https'):
        path = _download(location)
    else:
        path = Path(location).expanduser()
    if not path.is_file():
        raise UserError(f'no checkpoint at {location}: give the path of a file that exists')
    return path


def _download(url: str) -> Path:
    path = Path(torch.hub.get_dir(), 'checkpoints', os.path.basename(urlparse(url).path))
    origin = path.with_name(f'{path.name}.url')  # many repositories call their file the same
    plain = urlparse(url)._replace(query='', fragment='').geturl()
    came = origin.read_text(encoding='utf-8') if path.is_file() and origin.is_file() else plain
    if came != plain:
        raise UserError(
            f'{path} was fetched from {came}, not from {plain}: move it away, or download the '
            'other one elsewhere and give its path'
        )
    download(url, path)
    if not origin.is_file():
        write_atomically(origin, plain.encode())
    return path


def read_checkpoint(location: str, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read a safetensors or torch file; pickled code is refused, never run.

    Damage is found too: torch's files hold checksums, and a file with a record beside it (see
    :func:`memba_vision.files.check_record`) must match it.

    Args:
        location: see :func:`resolve`.
        map_location: where the tensors go, as for :func:`torch.load`.

    Returns:
        What the file holds: tensors by name, or a training checkpoint's dict.

    Raises:
        UserError: the file is missing, truncated, no checkpoint, or holds pickled code.
    """
    path = resolve(location)
    check_record(path)
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        _check_sums(path)
        with torch.serialization.safe_globals(_HARMLESS_TYPES):
            content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        # A whole torch file that does not unpickle, or an older one that names a callable.
        if zipfile.is_zipfile(path) or 'GLOBAL ' in str(error):
            raise UserError(
                f'{path} holds pickled Python objects, which could run code, so it was not loaded: '
                f'export its weights as safetensors where you trust them'
            ) from error
        raise _unreadable(path) from error
    except UserError:
        raise
    except Exception as error:  # the readers raise nearly anything on damaged files
        raise _unreadable(path) from error
    if not isinstance(content, dict):
        raise UserError(f'{path} holds a {type(content).__name__}, expected a dict of weights')
    return content


def _check_sums(path: Path) -> None:
    # torch writes the checksums of the zip format, and reads without looking at them.
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            if file.testzip():
                raise _unreadable(path)


def _unreadable(path: Path) -> UserError:
    size = path.stat().st_size
    return UserError(
        f'{path} ({size:,} bytes) is truncated or not a checkpoint, or damaged: copy or download '
        'it again'
    )


def read_state_dict(location: str, prefix: str = '') -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, out of the dict that training scripts wrap them in.

    Args:
        location: see :func:`resolve`.
        prefix: keep the keys that start with it, without it (``'backbone.'`` for a checkpoint of
            an mmpretrain classifier).
    """
    content = read_checkpoint(location)
    for wrapper in ('state_dict', 'model'):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def load_strictly(
    module: nn.Module,
    state_dict: dict[str, torch.Tensor],
    source: str,
    ignore_prefixes: tuple[str, ...] = (),
) -> None:
    """Copy ``state_dict`` into ``module``; every key on either side must find its like.

    Args:
        module: receives the tensors.
        state_dict: tensors by name.
        source: where they come from, for the error's text.
        ignore_prefixes: keys that start with one of these may be left over.

    Raises:
        UserError: keys are missing, left over or misshapen; all of them are named.
    """
    given = {k: v for k, v in state_dict.items() if not k.startswith(ignore_prefixes or ('\0',))}
    own = module.state_dict()
    problems = [f'missing {key}' for key in own if key not in given]
    problems += [f'unexpected {key}' for key in given if key not in own]
    problems += [
        f'{key} is {tuple(given[key].shape)}, expected {tuple(own[key].shape)}'
        for key in own
        if key in given and own[key].shape != given[key].shape
    ]
    if problems:
        raise UserError(
            f'{source} does not fit {type(module).__name__}: {"; ".join(problems)}. '
            'Choose the arch, patch_size and stride that the checkpoint was made with'
        )
    module.load_state_dict(given, strict=True)


def fingerprint(weights: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of all ``weights``, in hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
