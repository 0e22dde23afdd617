"""Finding the checkpoint to go on from."""

import logging
import time
from pathlib import Path

from mmengine.logging import print_log

from memba_vision.errors import UserError
from memba_vision.weights import read_checkpoint

LEFT = ('result.json', 'last_checkpoint')  # what a run leaves beside its checkpoints


def checkpoints_newest_first(work_dir: str) -> list[Path]:
    """The training checkpoints of a run's folder."""
    paths = [path for name in ('epoch_*.pth', 'iter_*.pth') for path in Path(work_dir).glob(name)]
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def set_aside(work_dir: Path, needed: str | None = None) -> None:
    """Move what an earlier run left in a folder, so that nothing goes on from it by mistake.

    Args:
        work_dir: the folder.
        needed: a checkpoint that stays where it is, for the new run starts from its weights.
    """
    left = checkpoints_newest_first(str(work_dir))
    left += [path for name in LEFT for path in work_dir.glob(name)]
    left = [path for path in left if not needed or path.resolve() != Path(needed).resolve()]
    if not left:
        return
    folder = work_dir / f'earlier_{time.strftime("%Y%m%d_%H%M%S")}'
    folder.mkdir(exist_ok=True)
    for path in left:
        # Not under its own name: reports look for results in all folders.
        name = f'earlier_{path.name}' if path.name in LEFT else path.name
        path.rename(folder / name)
    print_log(f'What an earlier run left is in {folder}', logger='current')


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
