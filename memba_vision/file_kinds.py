"""Nouns for files that were given in the place of others, and the names near a missing one."""

import difflib
import mimetypes
from pathlib import Path

IMAGE = 'an image'
TABLES = ('a csv', 'a text file')
CHECKPOINT = '.pth.tar'  # no archive, whatever its name
WEIGHTS = ('a checkpoint', 'a file of weights', '')
#: By the ending; others go by their type in :mod:`mimetypes`.
_ENDINGS = {
    **dict.fromkeys(('.pth', '.pt', '.ckpt'), 'a checkpoint'),
    **dict.fromkeys(('.md', '.log', '.txt', '.tsv'), 'a text file'),
    **dict.fromkeys(('.yml', '.yaml'), 'a YAML file'),
    **dict.fromkeys(('.heic', '.heif', '.avif', '.webp'), IMAGE),
    '.csv': 'a csv',
    '.jsonl': 'a JSON file',
    '.onnx': 'a graph in ONNX',
    '.py': 'a Python file',
    '.safetensors': 'a file of weights',
}
_TYPES = {
    'application/json': 'a JSON file',
    'application/pdf': 'a PDF',
    'application/x-tar': 'an archive',
    'application/zip': 'an archive',
    'text/html': 'a web page',
}
_MAIN_TYPES = {'image': IMAGE, 'video': 'a video', 'audio': 'a sound'}


def kind_of(path: str | Path) -> str:
    """Return a noun for an existing path, by the ending of its name; '' where that says nothing."""
    path = Path(path)
    if path.is_dir():
        return 'a folder'
    ending = path.suffix.lower()
    if path.name.lower().endswith(CHECKPOINT):
        return _ENDINGS['.pth']
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    known, packed = mimetypes.guess_type(f'a{ending}', strict=False)
    if packed:
        return 'an archive'
    known = known or ''
    return _TYPES.get(known) or _MAIN_TYPES.get(known.partition('/')[0], '')


def near_paths(path: str | Path) -> str:
    """Return a question that proposes what lies beside a missing path, '' if nothing is near."""
    path = Path(path)
    try:
        beside = [other.name for other in path.parent.iterdir()]
    except OSError:
        return ''
    near = difflib.get_close_matches(path.name, beside, 2)
    names = ' or '.join(str(path.with_name(name)) for name in near)
    return f' (did you mean {names}?)' if names else ''
