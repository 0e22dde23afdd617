"""Reading of files of weights without running code in them."""

import argparse
import hashlib
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors.torch import load_file

from memba_vision.download import download
from memba_vision.errors import UserError
from memba_vision.file_kinds import WEIGHTS, kind_of
from memba_vision.files import exclusive_lock, verify_checksum, write_atomically
from memba_vision.weights.licences import announce
from memba_vision.weights.published_hashes import check_hash, describe_hash

PACKAGE_SCHEME = 'memba_vision://'
#: Ways to name a local file in the place of an address.
LOCAL_FILE = (
    'base weights: --cfg-options model.backbone.module.init_cfg.checkpoint=FILE, or a --backbone '
    'file that says so; in Python pretrained=FILE'
)


#: Keys of an address that sign it, or say how it is sent: with others it is the same file.
_OF_THE_TRANSFER = re.compile(
    r'(x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|key-pair-id|policy|signature|expires|token'
    r'|s[eprvt]|sig|spr|sip|sk(oid|tid|t|e|s|v)|response-.*|download)=.*',
    re.IGNORECASE,
)


class MissingWeights(UserError):
    """Error for a file of weights that is not there, or cannot be fetched."""


# Published checkpoints of the DeiT family keep their command line beside the weights, and those of
# Swin's descendants, VMamba among them, a config. It is read as an ordered dict: its own class is
# neither looked for nor run.
_HARMLESS_TYPES = [argparse.Namespace, (OrderedDict, 'yacs.config.CfgNode')]


def resolve(location: str) -> Path:
    """Return the local file of ``location``; what is at a web address is downloaded once and kept.

    The log names the licence of published weights before they are downloaded.

    Args:
        location: a path, ``memba_vision://NAME`` for weights that come with the package, or an
            http(s) address, kept in torch's hub folder (``TORCH_HOME``).

    Raises:
        MissingWeights: there is no such file, or the download failed.
    """
    if location.startswith(PACKAGE_SCHEME):
        shipped = resources.files('memba_vision') / 'pretrained'
        path = Path(str(shipped / location.removeprefix(PACKAGE_SCHEME)))
    elif urlparse(location).scheme in ('http', 'https'):
        path = _download(location)
    else:
        path = Path(location).expanduser()
    if not path.is_file():
        raise MissingWeights(
            f'no checkpoint at {location}: give the path of a file that exists ({LOCAL_FILE})'
            f'{describe_hash(location)}'
        )
    return path


def _download(url: str) -> Path:
    plain = _without_signature(url)
    path = Path(torch.hub.get_dir(), 'checkpoints', os.path.basename(urlparse(url).path))
    if not _claim(path, plain):  # many repositories call their file the same
        digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
        path = path.with_name(f'{path.stem}-{digest}{path.suffix}')
    if not path.is_file():
        announce(plain)
    try:
        download(url, path)
    except UserError as error:
        if not any(path.with_name(path.name + end).exists() for end in ('', '.part')):
            path.with_name(f'{path.name}.url').unlink(missing_ok=True)
        if type(error) is not UserError:  # a full disk
            raise
        raise MissingWeights(f'{error} ({LOCAL_FILE}){describe_hash(url)}') from error
    return path


def _without_signature(url: str) -> str:
    """Return an address as long as it tells files apart, as by ``?id=``."""
    parts = urlparse(url)
    told = [pair for pair in parts.query.split('&') if not _OF_THE_TRANSFER.fullmatch(pair)]
    return parts._replace(query='&'.join(told), fragment='').geturl()


def _claim(path: Path, url: str) -> bool:
    """Note beside a file from where it comes; False if it is noted that it comes from elsewhere.

    Of several processes that want files of one name, the first to note its address has the name.
    """
    origin = path.with_name(f'{path.name}.url')
    if path.is_file() and not origin.is_file():
        return True  # somebody put it there, perhaps where nothing can be written
    if not origin.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(origin):
            if not origin.is_file():  # another process was quicker
                write_atomically(origin, url.encode())
    return origin.read_text(encoding='utf-8') == url


def read_checkpoint(location: str, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read a safetensors or torch file; pickled code is refused, never run.

    The content says which of them it is, whatever the file is called. Damage is found too: torch's
    files hold checksums, and a file with a record beside it (see
    :func:`memba_vision.files.verify_checksum`) must match it, and one of a published name the hash
    that its authors state.

    Args:
        location: see :func:`resolve`.
        map_location: the device of the tensors; see :func:`torch.load`.

    Returns:
        The content of the file: tensors by name, or a training checkpoint's dict.

    Raises:
        UserError: the file is missing, truncated, no checkpoint, or holds code.
    """
    path = resolve(location)
    verify_checksum(path)
    check_hash(path)
    try:
        if _is_safetensors(path):
            return _moved(load_file(path), map_location)
        _check_zip(path)
        # By a path torch would go by the ending.
        with torch.serialization.safe_globals(_HARMLESS_TYPES), path.open('rb') as file:
            content = torch.load(file, map_location=map_location, weights_only=True)
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
    except PermissionError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}') from error
    except Exception as error:  # the readers raise nearly anything on damaged files
        raise _unreadable(path) from error
    if not isinstance(content, dict):
        raise UserError(f'{path} holds a {type(content).__name__}, expected a dict of weights')
    return content


def _moved(tensors: dict[str, torch.Tensor], map_location: Any) -> dict[str, torch.Tensor]:
    """Return tensors of the CPU where ``map_location`` wants them, as :func:`torch.load` does."""
    if isinstance(map_location, dict):
        map_location = map_location.get('cpu', 'cpu')
    if not callable(map_location):
        return {name: tensor.to(map_location or 'cpu') for name, tensor in tensors.items()}
    moved = {}
    for name, tensor in tensors.items():
        storage = map_location(tensor.untyped_storage(), 'cpu')
        moved[name] = tensor if storage is None else tensor.to(storage.device)
    return moved


def _is_safetensors(path: Path) -> bool:
    # The format begins with the length of its header, which is JSON; torch's are zip or pickle.
    with path.open('rb') as file:
        start = file.read(9)
    if start[8:] == b'{' and int.from_bytes(start[:8], 'little') < path.stat().st_size:
        return True
    return path.suffix == '.safetensors' and not start.startswith((b'PK', b'\x80'))


def _check_zip(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        if any(name.endswith('/constants.pkl') for name in file.namelist()):
            raise UserError(
                f'{path} is a TorchScript archive, which holds code: save the state_dict of the '
                'model that it was made from, and give that'
            )
        # torch writes the checksums of the zip format, and reads without looking at them.
        if file.testzip():
            raise _unreadable(path)


def _unreadable(path: Path) -> UserError:
    kind = kind_of(path)
    if kind not in WEIGHTS:
        return UserError(f'{path} is {kind}: give a checkpoint or a file of weights')
    size = path.stat().st_size
    return UserError(
        f'{path} ({size:,} bytes) is truncated or not a checkpoint, or damaged: copy or download '
        'it again'
    )
