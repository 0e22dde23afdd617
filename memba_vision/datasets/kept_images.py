"""Images of a dataset, kept in memory that its data workers share."""

import marshal
import mmap
import multiprocessing
from collections.abc import Collection
from typing import Any

import numpy as np

MEBIBYTE = 2**20
#: A dataset of more images does not fit anyway, and would fill the memory with their names.
MOST_IMAGES = 50_000
_SIZES = 16  # two int64 lie before each image: the bytes of its facts, and of its pixels


class KeptImages:
    """Images, and facts on them, by their paths; the process that makes one first puts it there.

    Data workers are forks of the training process: the memory is theirs and its. It is taken page
    by page, so that a small dataset takes what it needs. Where workers are started anew instead
    (``multiprocessing_context='spawn'``), nothing is kept.

    Args:
        mebibytes: limit of the memory; what comes later is not kept.
    """

    def __init__(self, mebibytes: int) -> None:
        self.limit = mebibytes * MEBIBYTE
        self._numbers: dict[str, int] = {}

    def __deepcopy__(self, memo: dict) -> 'KeptImages':
        """Return the same: the copy of a dataset, such as a subset, has images of these paths."""
        return self

    def __reduce__(self) -> tuple:
        """Keep nothing in a process that does not share the memory."""
        return KeptImages, (0,)

    def expect(self, paths: Collection[str]) -> None:
        """Make room for images, before any of them is kept and before data workers start."""
        if self.limit and paths and len(paths) <= MOST_IMAGES:
            self._numbers = {path: number for number, path in enumerate(dict.fromkeys(paths))}
            # Of each image the place behind its sizes, 0 as long as it is not kept; then the end.
            self._places = np.frombuffer(mmap.mmap(-1, 8 * len(self._numbers) + 8), np.int64)
            self._memory = np.frombuffer(mmap.mmap(-1, self.limit), np.uint8)
            self._lock = multiprocessing.Lock()

    def find(self, path: str) -> tuple[np.ndarray, dict[str, Any]] | None:
        """Return a copy of a kept image, uint8, and the facts on it; None where there is none."""
        number = self._numbers.get(path)
        start = 0 if number is None else int(self._places[number])
        if not start:
            return None
        sizes = self._memory[start - _SIZES : start].view(np.int64).tolist()
        middle, end = start + sizes[0], start + sum(sizes)
        shape, facts = marshal.loads(self._memory[start:middle])
        return self._memory[middle:end].reshape(shape).copy(), facts

    def keep(self, path: str, image: np.ndarray, facts: dict[str, Any]) -> None:
        """Keep an image that is expected, if there is room for it.

        Args:
            path: of its file.
            image: its pixels; other types than uint8 are not kept.
            facts: numbers, texts, lists and tuples; with other types in them nothing is kept.
        """
        number = self._numbers.get(path)
        if number is None or image.dtype != np.uint8 or not _is_plain([*facts.values()]):
            return
        head = marshal.dumps((image.shape, facts))
        # A worker that was killed holds its lock for ever: better not to keep than to wait.
        if self._lock.acquire(block=False):
            try:
                start = self._write(head, image)
            finally:
                self._lock.release()
            # Only now: the lock's release has every processor see the pixels first.
            if start:
                self._places[number] = start

    def _write(self, head: bytes, image: np.ndarray) -> int:
        """Append an image, and return its place; 0 where it does not fit."""
        start = int(self._places[-1]) + _SIZES
        middle = start + len(head)
        end = middle + image.size
        if end > self.limit:
            return 0
        sizes = np.array([len(head), image.size], np.int64)
        self._memory[start - _SIZES : start] = sizes.view(np.uint8)
        self._memory[start:middle] = np.frombuffer(head, np.uint8)
        self._memory[middle:end] = image.reshape(-1)
        self._places[-1] = end
        return start


def _is_plain(value: Any) -> bool:
    """Return True for what comes back from the memory as it was; NumPy's numbers would not."""
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
