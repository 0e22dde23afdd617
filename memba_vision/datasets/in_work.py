"""Which image each data process is at, known to the process that trains."""

import os
import re

import torch
from torch.utils.data import get_worker_info

MAX_WORKERS = 256


class InWork:
    """A table in shared memory: the process id of each data worker, and its image's number."""

    def __init__(self) -> None:
        self.table = torch.full((MAX_WORKERS, 2), -1, dtype=torch.int64).share_memory_()

    def note(self, image: int) -> None:
        """Say that this process, if it is a data worker, begins with an image."""
        worker = get_worker_info()
        if worker is not None and worker.id < MAX_WORKERS:
            self.table[worker.id] = torch.tensor([os.getpid(), image])

    def of_processes(self, message: str) -> list[int]:
        """The images of the processes whose ids a message of torch names, as in ``(pid 12)``."""
        named = {int(number) for number in re.findall(r'\d+', message)}
        return [image for process, image in self.table.tolist() if process in named]
