"""Decoded images of a dataset, kept in memory that its data workers share."""

import mmap
import multiprocessing
from collections.abc import Collection

import numpy as np

MEBIBYTE = 2**20
#: A dataset of more images does not fit anyway, and would fill the memory with their names.
MOST_IMAGES = 50_000
_SHAPE_BYTES = 16  # height and width, int64, lie before the pixels


class KeptImages:
    """Pixels of images by their paths, each decoded by the process that needs it first.

    Data workers are forks of the training process: the memory is theirs and its. It is taken page
    by page, so that a small dataset takes what it needs. Where workers are started anew instead
    (``multiprocessing_context='spawn'``), nothing is kept.

    Args:
        mebibytes: how much is kept at most; further images are decoded whenever they are needed.
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
        if self.limit and len(paths) <= MOST_IMAGES:
            self._numbers = {path: number for number, path in enumerate(dict.fromkeys(paths))}
            # For each image the place behind its shape, 0 as long as it is not kept; then the end.
            self._places = np.frombuffer(mmap.mmap(-1, 8 * len(self._numbers) + 8), np.int64)
            self._memory = np.frombuffer(mmap.mmap(-1, self.limit), np.uint8)
            self._lock = multiprocessing.Lock()

    def find(self, path: str) -> np.ndarray | None:
        """Return a kept image, (height, width, 3) uint8, not to be written to; None without one."""
        number = self._numbers.get(path)
        place = 0 if number is None else int(self._places[number])
        if not place:
            return None
        height, width = self._memory[place - _SHAPE_BYTES : place].view(np.int64).tolist()
        return self._memory[place : place + height * width * 3].reshape(height, width, 3)

    def keep(self, path: str, image: np.ndarray) -> None:
        """Keep an image, (height, width, 3) uint8, if it is expected and there is room for it."""
        number = self._numbers.get(path)
        # A worker that was killed holds its lock for ever: better not to keep than to wait.
        if number is None or not self._lock.acquire(block=False):
            return
        try:
            place = int(self._places[-1]) + _SHAPE_BYTES
            end = place + image.size
            if end > self.limit or self._places[number]:
                return
            self._memory[place - _SHAPE_BYTES : place] = np.array(image.shape[:2], np.int64).view(
                np.uint8
            )
            self._memory[place:end] = image.reshape(-1)
            self._places[-1] = end
        finally:
            self._lock.release()
        # Only now: the lock's release has every processor see the pixels first.
        self._places[number] = place
