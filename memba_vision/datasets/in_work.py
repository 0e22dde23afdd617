"""The image that each data process is at, known to the process that trains."""

import os
import re
import time

import torch
from torch.utils.data import get_worker_info

MAX_WORKERS = 256


class InWork:
    """A table in shared memory: of each data worker the process id, its image's number, and when
    it began with it.
    """

    def __init__(self) -> None:
        self.table = torch.full((MAX_WORKERS, 3), -1, dtype=torch.int64).share_memory_()

    def __deepcopy__(self, memo: dict) -> 'InWork':
        """A new table: the copy of a dataset, such as a subset, numbers its images anew."""
        return InWork()

    def note(self, image: int) -> None:
        """Say that this process, if it is a data worker, begins with an image."""
        worker = get_worker_info()
        if worker is not None and worker.id < MAX_WORKERS:
            self.table[worker.id] = torch.tensor([os.getpid(), image, time.monotonic_ns()])

    def of_processes(self, message: str) -> dict[int, tuple[int, int]]:
        """The images of the processes whose ids a message of torch names, as in ``(pid 12)``.

        Returns:
            By process id: the time of the start in nanoseconds, and the image's number.
        """
        named = {int(number) for number in re.findall(r'\d+', message)}
        return {pid: (at, image) for pid, image, at in self.table.tolist() if pid in named}
