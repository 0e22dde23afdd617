"""Photos of a dataset that Hugging Face's library has saved in a folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memba_vision.errors import UserError

_OF_ONE, _OF_SEVERAL = 'dataset_info.json', 'dataset_dict.json'
_ALL = 'all'  # of a dataset without splits
_SPLITS = {'validation': 'val', 'valid': 'val', 'dev': 'val', 'val': 'val', 'test': 'test'}


def is_saved_dataset(folder: Path) -> bool:
    """Return True for a folder that ``save_to_disk`` of ``datasets`` made."""
    return any((folder / name).is_file() for name in (_OF_ONE, _OF_SEVERAL))


def photos_of_dataset(folder: Path, copies: Path) -> list[tuple[Path, str, str]]:
    """Return the path, class and split of each photo of a saved dataset.

    Its files hold the photos among other things; they are written out, byte by byte.

    Args:
        folder: made by ``save_to_disk``.
        copies: the folder for the photos; what is there is replaced.

    Raises:
        UserError: ``datasets`` is not installed, or there is no column of images or of classes.
    """
    shutil.rmtree(copies, ignore_errors=True)
    return [
        (path, label, split)
        for name, dataset in _load(folder).items()
        for split in ['' if name == _ALL else _SPLITS.get(name, 'train')]
        for path, label in _photos(folder, dataset, copies / name)
    ]


def _load(folder: Path) -> dict[str, Any]:
    """Return the datasets by the names of their splits."""
    try:
        import datasets
        from datasets import load_from_disk  # a folder of that name is a module too
    except ImportError as error:
        raise UserError(
            f"{folder} is a dataset of Hugging Face's library, which reads it: pip install datasets"
        ) from error
    datasets.disable_progress_bars()
    try:
        loaded = load_from_disk(str(folder))
    except Exception as error:  # pyarrow raises nearly anything on damaged files
        reason = ' '.join(str(error).split())
        raise UserError(
            f'{folder} cannot be read by datasets {datasets.__version__}: {reason}'
        ) from error
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {_ALL: loaded}


def _photos(folder: Path, dataset: Any, copies: Path) -> Iterator[tuple[Path, str]]:
    import datasets

    kinds = dataset.features
    images = [name for name, kind in kinds.items() if isinstance(kind, datasets.Image)]
    labels = [name for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]
    labels += [name for name in ('label', 'labels', 'class') if name in kinds]
    if len(images) != 1 or not labels:
        raise UserError(
            f'{folder}: expected one column of images and one of classes, found '
            f'{", ".join(f"{name} ({type(kind).__name__})" for name, kind in kinds.items())}'
        )
    label = labels[0]
    names = getattr(kinds[label], 'names', None)
    dataset = dataset.cast_column(images[0], datasets.Image(decode=False))
    copies.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(dataset.select_columns([images[0], label])):
        image, value = row[images[0]], row[label]
        path = Path(image['path'] or 'photo')
        if image['bytes'] is not None:
            path = copies / f'{number:06d}{path.suffix}'
            path.write_bytes(image['bytes'])
        yield path.absolute(), names[value] if names else str(value)
