"""Finding the checkpoint to go on from."""

import logging
from pathlib import Path

from mmengine.logging import print_log

from memba_vision.errors import UserError
from memba_vision.weights import read_checkpoint


def checkpoints_newest_first(work_dir: str) -> list[Path]:
    """The training checkpoints of a run's folder."""
    paths = [path for name in ('epoch_*.pth', 'iter_*.pth') for path in Path(work_dir).glob(name)]
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def newest_readable(work_dir: str) -> Path | None:
    """The newest checkpoint that can be read; a damaged one is passed over with a warning."""
    for path in checkpoints_newest_first(work_dir):
        try:
            read_checkpoint(str(path))
        except UserError as error:
            print_log(f'passed over: {error}', logger='current', level=logging.WARNING)
        else:
            return path
    return None
