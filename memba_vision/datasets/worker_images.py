"""Table of the image that each data worker is reading, shared with the training process."""

import os
import re
import time

import torch
from torch.utils.data import get_worker_info

MAX_WORKERS = 256


class WorkerImages:
    """Table in shared memory: process id, image's number and start time of each data worker."""

    def __init__(self) -> None:
        self.table = torch.full((MAX_WORKERS, 3), -1, dtype=torch.int64).share_memory_()

    def __deepcopy__(self, memo: dict) -> 'WorkerImages':
        """Return a new table: the copy of a dataset, such as a subset, numbers its images anew."""
        return WorkerImages()

    def record(self, image: int) -> None:
        """Record the image that this process, if it is a data worker, begins to read."""
        worker = get_worker_info()
        if worker is not None and worker.id < MAX_WORKERS:
            self.table[worker.id] = torch.tensor([os.getpid(), image, time.monotonic_ns()])

    def of_processes(self, message: str) -> dict[int, tuple[int, int]]:
        """Return the images of the processes that a message of torch names, as in ``(pid 12)``.

        Returns:
            By process id: the time of the start in nanoseconds, and the image's number.
        """
        named = {int(number) for number in re.findall(r'\d+', message)}
        return {pid: (at, image) for pid, image, at in self.table.tolist() if pid in named}
