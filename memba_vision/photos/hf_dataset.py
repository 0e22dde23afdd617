"""Photos of a dataset that Hugging Face's library has saved in a folder."""

import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from memba_vision.datasets.vtab1k_tools.folders import splits_named
from memba_vision.errors import UserError

_OF_ONE, _OF_SEVERAL = 'dataset_info.json', 'dataset_dict.json'
_ALL = 'all'  # of a dataset without splits


def is_saved_dataset(folder: Path) -> bool:
    """Return True for a folder that ``save_to_disk`` of ``datasets`` made."""
    return any((folder / name).is_file() for name in (_OF_ONE, _OF_SEVERAL))


def photos_of_dataset(folder: Path, copies: Path) -> list[tuple[Path, str, str]]:
    """Return the path, class and split of each photo of a saved dataset.

    Its files hold the photos among other things; they are written out, byte by byte, and an empty
    file stands for a row without one.

    Args:
        folder: made by ``save_to_disk``.
        copies: the folder for the photos; what is there is replaced.

    Raises:
        UserError: ``datasets`` is not installed, there is no column of images or of classes, a
            photo has no class, or the name of a split does not say what it is for.
    """
    loaded = _load(folder)
    splits = _splits_of(folder, loaded)
    shutil.rmtree(copies, ignore_errors=True)
    return [
        (path, label, splits[name])
        for name, dataset in loaded.items()
        for place in [folder if name == _ALL else folder / name]
        for path, label in _photos(place, dataset, copies / name)
    ]


def _splits_of(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Return the split that each name says; '' for the one name of a dataset that says none."""
    said = {name: splits_named(name) for name in names}
    unclear = [name for name, splits in said.items() if len(splits) != 1]
    if len(names) == 1 and unclear:
        return dict.fromkeys(names, '')
    if unclear:
        raise UserError(
            f'{folder} has the splits {", ".join(names)}, and {unclear[0]} does not say whether it '
            'is for the training, the validation or the test: name it train, val or test, or save '
            'the dataset without it'
        )
    if ['train'] not in said.values():
        raise UserError(
            f'{folder} holds {", ".join(names)} and no train: name the split of the photos to '
            'train on "train"'
        )
    return {name: splits[0] for name, splits in said.items()}


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
    labels = labels or [name for name in ('label', 'labels', 'class') if name in kinds]
    if len(images) != 1 or len(labels) != 1:
        raise UserError(
            f'{folder}: expected one column of images and one of classes, found '
            f'{", ".join(f"{name} ({type(kind).__name__})" for name, kind in kinds.items())}: save '
            'it with those two alone, by select_columns'
        )
    classes = _classes(folder, dataset[labels[0]], getattr(kinds[labels[0]], 'names', None))
    dataset = dataset.cast_column(images[0], datasets.Image(decode=False))
    copies.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(dataset.select_columns(images)):
        image = row[images[0]] or {'path': None, 'bytes': None}
        path = Path(image['path'] or 'photo')
        if image['bytes'] is not None or not image['path']:
            path = copies / f'{number:06d}{path.suffix}'
            path.write_bytes(image['bytes'] or b'')
        yield path.absolute(), classes[number]


def _classes(folder: Path, labels: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    """Return the name of each row's class.

    Args:
        folder: for the error.
        labels: of the rows; where there are names, -1 stands for one that is kept secret.
        names: of the classes by number; None where the labels are the names.
    """
    known = None if names is None else dict(enumerate(names))
    classes = []
    for number, label in enumerate(labels):
        is_class = isinstance(label, str | int | float) and str(label).strip() not in ('', 'nan')
        if not is_class or (known is not None and label not in known):
            raise UserError(
                f'{folder}: the photo of row {number:,} has no class, its label is {label!r}: save '
                'the dataset without photos of hidden or missing labels'
            )
        classes.append(str(label) if known is None else known[label])
    return classes
