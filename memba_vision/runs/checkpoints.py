"""Search for the checkpoint to resume from."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from memba_vision.engine.checkpoint_folders import BEST, checkpoint_folders, steps_made
from memba_vision.engine.selection import SELECTION_FILE
from memba_vision.errors import UserError
from memba_vision.file_kinds import WEIGHTS, kind_of, near_paths
from memba_vision.files import CURVE_FILE
from memba_vision.runs.record import (
    RECORD_FILE,
    folder_of_run,
    has_record,
    point_to_run,
    read_config,
)
from memba_vision.runs.result import RESULT_FILE
from memba_vision.runs.result_files import read_result
from memba_vision.weights import read_checkpoint

HOW_TO_GET_ONE = (
    'train first with "python tools/train.py CONFIG", or name another folder, a checkpoint or an '
    'adapter file'
)
LEFT = ('result*.json', 'last_checkpoint', CURVE_FILE)  # files of a run beside its checkpoints


def checkpoints_newest_first(config: Config, before: str = '') -> list[Path]:
    """Return the checkpoints of a run that training can go on from.

    The number in the name decides, since a copy of a folder has the times of the copying. Where
    there are names of several kinds, as of epochs and of steps, it is the steps that were made.

    Args:
        config: of the run, with its ``work_dir``.
        before: see :meth:`memba_vision.engine.checkpoint_folders.CheckpointFolder.checkpoints`.

    Raises:
        UserError: the hook's ``out_dir`` leads into the folder of another run.
    """
    for folder in run_folders(config):
        _check_owner(folder, Path(config.work_dir))
    found = [entry for place in checkpoint_folders(config) if (entry := place.checkpoints(before))]
    kinds = [[path for _, path in numbered] for numbered in found]
    if len(kinds) < 2:
        return kinds[0] if kinds else []
    paths = dict.fromkeys(path for kind in kinds for path in kind)
    return sorted(paths, key=steps_made, reverse=True)


def run_folders(config: Config) -> list[Path]:
    """Return the folders in which the checkpoints of a run may lie."""
    return list(dict.fromkeys(place.folder for place in checkpoint_folders(config)))


def claim_folders(config: Config) -> None:
    """Note, in the folders of checkpoints that are not the run's own, whose they are.

    Raises:
        UserError: one is of another run.
    """
    work_dir = Path(config.work_dir).absolute()
    for folder in run_folders(config):
        _check_owner(folder, work_dir)
        if folder != work_dir:
            point_to_run(folder, work_dir)


def _check_owner(folder: Path, work_dir: Path) -> None:
    owner = folder_of_run(folder)
    if has_record(owner) and owner.resolve() != work_dir.resolve():
        raise UserError(
            f'{folder} holds the checkpoints of the run in {owner}: give this run a --work-dir of '
            "another name, or set another out_dir in the config's checkpoint hook"
        )


def archive_run(config: Config, needed: str | None = None) -> None:
    """Move what an earlier run left in a folder, so that nothing goes on from it by mistake.

    Args:
        config: of the new run, with its ``work_dir``.
        needed: a checkpoint that stays where it is, for the new run starts from its weights.
    """
    left = checkpoints_newest_first(config) + checkpoints_newest_first(config, BEST)
    # Before its first checkpoint a run is resumed as one that starts, and keeps its choice.
    names = (*LEFT, SELECTION_FILE) if left else LEFT
    left += [path for name in names for path in Path(config.work_dir).absolute().glob(name)]
    _set_aside([path for path in left if not needed or not _is_same(path, needed)])


def archive_later(config: Config, origin: str) -> None:
    """Move those checkpoints of a run that are newer than the one that it is to go on from.

    The next resumption would otherwise go on from one of them.

    Args:
        config: of the run, with its ``work_dir``.
        origin: the checkpoint, of the same run or of another.
    """
    newest_first = checkpoints_newest_first(config)
    own = [number for number, path in enumerate(newest_first) if _is_same(path, origin)]
    _set_aside(newest_first[: own[0]] if own else [])


def _is_same(path: Path, other: str) -> bool:
    return path.resolve() == Path(other).resolve()


def _set_aside(left: list[Path]) -> None:
    moment = time.strftime('%Y%m%d_%H%M%S')
    for path in left:
        folder = path.parent / f'earlier_{moment}'
        folder.mkdir(exist_ok=True)
        # Not under its own name: reports look for results in all folders.
        name = f'earlier_{path.name}' if any(map(path.match, LEFT)) else path.name
        path.rename(folder / name)
    for folder in dict.fromkeys(path.parent for path in left):
        print_log(f'What an earlier start left is in {folder}/earlier_{moment}', logger='current')


def find_checkpoint(run: str | Path) -> Path:
    """Return the file of a run: a checkpoint or adapter file itself, or that of a run's folder.

    Of a folder it is the checkpoint that was tested, if that is there, or else the newest one.

    Raises:
        UserError: there is none, or ``run`` is something else.
    """
    path = Path(run)
    if not path.is_dir():
        check_file_of_run(run)
        return path
    tested = _tested(folder_of_run(path))
    found = tested or newest_readable(path)
    if found is None:
        below = ', '.join(str(record.parent) for record in sorted(path.glob(f'*/{RECORD_FILE}')))
        raise UserError(
            f'no checkpoint in {run}: '
            + (f'it holds the runs {below}: name one of them' if below else HOW_TO_GET_ONE)
        )
    return found


def check_file_of_run(run: str | Path) -> None:
    """Check that there is a file, and by its name that it may be of a run.

    Raises:
        UserError: there is none, or it is neither a checkpoint nor an adapter file.
    """
    if '://' in str(run):
        raise UserError(f'{run}: runs lie on this machine: download it first, and give its path')
    if not Path(run).is_file():
        raise UserError(
            f'no checkpoint at {run}{near_paths(run)}: give the path of a file that exists, or the '
            'folder of a run'
        )
    kind = kind_of(run)
    if kind not in WEIGHTS:
        raise UserError(
            f'{run} is {kind}: give the folder of a run, a checkpoint of it or an adapter file'
        )


def _tested(folder: Path) -> Path | None:
    """Return the checkpoint that the result in a run's folder names, which may have been moved."""
    if not (folder / RESULT_FILE).is_file():
        return None
    result = read_result(folder / RESULT_FILE)
    named = Path(result.checkpoint)
    return next((p for p in (folder / named.name, named) if p.is_file() and result.is_of(p)), None)


def newest_readable(work_dir: str | Path, config: Config | None = None) -> Path | None:
    """Return the newest checkpoint that can be read, or a best one where there is no other.

    Args:
        work_dir: the run's folder.
        config: of the run; None takes it from the record in the folder.
    """
    config = config or _recorded(Path(work_dir))
    return first_readable(checkpoints_newest_first(config) + checkpoints_newest_first(config, BEST))


def _recorded(work_dir: Path) -> Config:
    """Return the config of a folder's record; without a record, one with its ``work_dir`` alone."""
    try:
        config = read_config(work_dir)
    except UserError:
        config = Config()
    config.work_dir = str(work_dir)  # it may have been moved
    return config


def first_readable(paths: Sequence[Path]) -> Path | None:
    """Return the first checkpoint that can be read; a damaged one is passed over with a warning."""
    for path in paths:
        try:
            read_checkpoint(str(path))
        except UserError as error:
            print_log(f'passed over: {error}', logger='current', level=logging.WARNING)
        else:
            return path
    return None
