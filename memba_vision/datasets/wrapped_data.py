"""Datasets behind wrappers, such as mmengine's ``ConcatDataset``."""

from typing import Any


def inner_datasets(dataset: Any) -> list[Any]:
    """Return the datasets inside nested wrappers; for a dataset that wraps none, itself."""
    parts = getattr(dataset, 'datasets', None)
    if parts is None:
        parts = [dataset.dataset] if hasattr(dataset, 'dataset') else []
    return [inner for part in parts for inner in inner_datasets(part)] or [dataset]


def images_of_workers(dataset: Any, message: str) -> str:
    """Return the paths of the images that data workers were reading when they died.

    Args:
        dataset: a dataset, perhaps in wrappers, that records the images its workers read.
        message: torch's error message, which names the processes.
    """
    latest: dict[int, tuple[int, str]] = {}
    for inner in inner_datasets(dataset):
        of_processes = getattr(inner, 'images_of_workers', lambda text: {})
        for process, begun in of_processes(message).items():
            latest[process] = max(begun, latest.get(process, begun))
    return ' or '.join(path for _, path in latest.values()) or 'an image that is not known'
