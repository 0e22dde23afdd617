"""Store of features: in memory, or in a file that is mapped where they would fill the memory."""

import errno
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

#: Features of more bytes go into a file.
IN_MEMORY = 256 * 2**20
DIGEST = 32  # bytes
ALIGNED = 64  # bytes


class FeatureStore:
    """Rows of features, one per image.

    A file outlives a process that is killed. Beside the rows of each batch it has the digest of all
    that they were computed from, so that a later process takes no others.

    Args:
        rows: a tensor per output of the backbone, (images, …).
        digests: (batches, 32) uint8; None in memory.
        file: the mapping that rows and digests lie in; None in memory.
    """

    def __init__(
        self,
        rows: Sequence[torch.Tensor],
        digests: torch.Tensor | None = None,
        file: np.memmap | None = None,
    ) -> None:
        self.rows = tuple(rows)
        self.digests = digests
        self._file = file

    @property
    def nbytes(self) -> int:
        """Size of all rows in bytes."""
        return sum(rows.nbytes for rows in self.rows)

    def get(self, images: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Return the features of some images."""
        return tuple(rows[list(images)] for rows in self.rows)

    def add(
        self,
        batch: int,
        images: Sequence[int],
        digest: Callable[[], bytes],
        compute: Callable[[], Sequence[torch.Tensor]],
    ) -> None:
        """Compute the features of a batch, unless an earlier process did.

        Args:
            batch: its number.
            images: the rows that it fills.
            digest: returns that of all that its features depend on.
            compute: returns the features, (batch, …) each.
        """
        signature = None if self.digests is None else digest()
        if signature is not None and bytes(self.digests[batch].tolist()) == signature:
            return
        for rows, values in zip(self.rows, compute(), strict=True):
            rows[list(images)] = values.detach().cpu()
        if signature is not None:
            self._file.flush()  # signed rows are on the disk, whenever the machine fails
            self.digests[batch] = torch.tensor(list(signature), dtype=torch.uint8)

    def forget(self) -> None:
        """Take no features of an earlier process."""
        if self.digests is not None:
            self.digests.zero_()


def open_store(
    path: Path, images: int, batches: int, examples: Sequence[torch.Tensor], limit: int
) -> FeatureStore:
    """Return a store: empty in memory up to ``limit`` bytes, beyond that the file at ``path``.

    Args:
        path: of the file; one of the same size is opened with what it holds.
        images: number of images.
        batches: number of batches that the features are computed in.
        examples: the features of any batch, (batch, …) each.
        limit: in bytes.

    Raises:
        OSError: the file has no room.
    """
    shapes = [(images, *example.shape[1:]) for example in examples]
    sizes = [math.prod(s) * e.element_size() for s, e in zip(shapes, examples, strict=True)]
    if sum(sizes) <= limit:
        kinds = zip(shapes, (example.dtype for example in examples), strict=True)
        return FeatureStore([torch.empty(shape, dtype=dtype) for shape, dtype in kinds])
    ends = np.cumsum([_aligned(size) for size in (batches * DIGEST, *sizes)]).tolist()
    file = _mapped(path, ends[-1])
    content = torch.from_numpy(file)
    rows = [
        content[start : start + size].view(example.dtype).view(shape)
        for start, size, example, shape in zip(ends[:-1], sizes, examples, shapes, strict=True)
    ]
    return FeatureStore(rows, content[: batches * DIGEST].view(batches, DIGEST), file)


def digest_of(inputs: torch.Tensor, settings: str) -> bytes:
    """Return the SHA-256 of a batch of images and of all else that its features depend on.

    Args:
        inputs: (batch, 3, height, width), as the backbone gets them.
        settings: weights, precision, kernels, as text.
    """
    found = hashlib.sha256(f'{settings} {tuple(inputs.shape)} {inputs.dtype}'.encode())
    found.update(inputs.cpu().contiguous().numpy().data)
    return found.digest()


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED


def _mapped(path: Path, size: int) -> np.memmap:
    """Return the bytes of a file of ``size`` bytes, zeros where there was none of that size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'ab') as file:
        if file.tell() != size:
            file.truncate(0)
            try:
                _reserve(file.fileno(), size, path.parent)
            except OSError:
                path.unlink()
                raise
    return np.memmap(path, np.uint8, 'r+', shape=(size,))


def _reserve(descriptor: int, size: int, folder: Path) -> None:
    # Without its blocks, a process that writes into the mapping of a full disk is killed.
    if hasattr(os, 'posix_fallocate'):
        os.posix_fallocate(descriptor, 0, size)
        return
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.truncate(descriptor, size)
