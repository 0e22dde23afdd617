"""Photos of a dataset that Hugging Face's library has saved in a folder."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from memba_vision.datasets.vtab1k_tools.folders import split_of_each
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
    splits = split_of_each(folder, list(loaded))
    shutil.rmtree(copies, ignore_errors=True)
    return [
        (path, label, splits[name])
        for name, dataset in loaded.items()
        for place in [folder if name == _ALL else folder / name]
        for path, label in _photos(place, dataset, copies / name)
    ]


@contextlib.contextmanager
def earlier_copies_kept(copies: Path) -> Iterator[None]:
    """Keep the photos that an earlier call has copied, and put them back after an error.

    Those new photos that are refused would else take the place of the ones that a run is of.
    """
    aside = copies.with_name(f'{copies.name}.earlier')
    _put_back(aside, copies)  # a call was killed
    if copies.is_dir():
        copies.rename(aside)
    try:
        yield
    except BaseException:
        _put_back(aside, copies)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _put_back(aside: Path, copies: Path) -> None:
    if aside.is_dir():
        shutil.rmtree(copies, ignore_errors=True)
        aside.rename(copies)


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
