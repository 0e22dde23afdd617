"""Datasets behind wrappers, such as mmengine's ``ConcatDataset``."""

from typing import Any


def inner_datasets(dataset: Any) -> list[Any]:
    """The datasets that a wrapper reads, wrapped in more or not; a dataset that is none: itself."""
    parts = getattr(dataset, 'datasets', None)
    if parts is None:
        parts = [dataset.dataset] if hasattr(dataset, 'dataset') else []
    return [inner for part in parts for inner in inner_datasets(part)] or [dataset]


def images_in_work(dataset: Any, message: str) -> str:
    """The images that data processes were at when they died.

    Args:
        dataset: a dataset, perhaps in wrappers, that notes the images its processes begin with.
        message: torch's, which names processes.
    """
    latest: dict[int, tuple[int, str]] = {}
    for inner in inner_datasets(dataset):
        of_processes = getattr(inner, 'images_in_work', lambda text: {})
        for process, begun in of_processes(message).items():
            latest[process] = max(begun, latest.get(process, begun))
    return ' or '.join(path for _, path in latest.values()) or 'an image that is not known'
