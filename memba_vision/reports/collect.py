"""Collection of the runs in a folder, with those that are missing, failed or unfinished."""

import csv
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from memba_vision.errors import UserError
from memba_vision.file_kinds import TABLES, kind_of, near_paths
from memba_vision.reports.run_list import RUN_LIST, read_run_list
from memba_vision.runs.backbone import RANDOM, UNKNOWN, Backbone, backbone_labels, backbone_of
from memba_vision.runs.compared_settings import PASSING, describe_differences, flat_settings
from memba_vision.runs.method_names import spelled_as_preset
from memba_vision.runs.metrics import TEST
from memba_vision.runs.record import RECORD_FILE, is_finished, last_start, read_config
from memba_vision.runs.result import RESULT_FILE, Result
from memba_vision.runs.result_files import read_result
from memba_vision.runs.validation import VALIDATION, validates

SWEEP_FILE = 'sweep.json'
STATUS_FILE = 'status.json'
FINISHED = 'finished'
MISSING = 'missing'
UNFINISHED = 'unfinished'


@dataclass(frozen=True)
class Run:
    """Run of a method on a task with a seed, over a backbone.

    Attributes:
        name: name of its folder, below the folder that is reported.
        task: the task's name.
        method: the method's name.
        seed: the seed; None if it is not known.
        folder: folder of its files.
        state: 'finished', the last state in its sweep ('failed', 'running', 'waiting', 'stopped'),
            'missing' (planned, and never started) or 'unfinished' (started, without a result).
        message: reason for the state, if it is known.
        result: its measurements, if it is finished.
        backbone: the adapted backbone.
        backbone_name: name of the backbone among those of all collected runs; runs of the same name
            may be averaged.
        planned_split: the images that judge it, as far as its result does not say.
    """

    name: str
    task: str
    method: str
    seed: int | None
    folder: Path
    state: str
    message: str = ''
    result: Result | None = None
    backbone: Backbone = UNKNOWN
    backbone_name: str = ''
    planned_split: str = TEST

    @property
    def split(self) -> str:
        """Images that judge it."""
        return self.result.split if self.result else self.planned_split

    @property
    def identity(self) -> tuple[str, str, str, int | None, str]:
        """Key that no two runs in a table share."""
        return self.backbone_name, self.method, self.task, self.seed, self.split


def collect_runs(folder: str | Path) -> tuple[list[Run], list[str]]:
    """Collect the runs below ``folder``: those that sweeps planned, and those in plain folders.

    Args:
        folder: see :func:`find_runs`.

    Returns:
        See :func:`one_of_each`.

    Raises:
        UserError: there is no finished run, or a record cannot be read.
    """
    runs = find_runs(folder)
    if not any(run.result for run in runs):
        raise UserError(f'no {RESULT_FILE} below {folder}: train something first')
    return one_of_each(runs)


def find_runs(folder: str | Path) -> list[Run]:
    """Return all runs below ``folder``, also several of one method, task and seed.

    Args:
        folder: the folder, or a list of runs as reports write it, ``runs.csv``.

    Raises:
        UserError: there is no such folder, or a record cannot be read.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(f'no folder of runs at {folder}{near_paths(folder)}')
    return _listed(folder) if folder.is_file() else _found(folder)


def one_of_each(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """Name the backbones of runs, and keep one run of each identity.

    Returns:
        The runs, and a remark on each that was left out, and on seeds that were trained with other
        settings, which are averaged all the same. Of several runs with the same backbone,
        method, task and seed, the one with the newest result counts; in a list the later line.
    """
    runs, remarks = _without_repeated(_with_backbone_names(runs))
    return runs, remarks + _unknown_bases(runs) + _averaged_with_other_settings(runs)


def read_list(path: Path) -> list[Result]:
    """Read the results of a list of runs, in its order.

    Raises:
        UserError: it is another file, or it lists none.
    """
    kind = kind_of(path)
    if kind not in (*TABLES, ''):
        raise UserError(f'{path} is {kind}: give the folder of the runs, or a list, {RUN_LIST}')
    try:
        results = read_run_list(path.read_text(encoding='utf-8', errors='surrogateescape'))
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        reason = f'it has no {error}' if isinstance(error, KeyError) else f'{error!r}'
        raise UserError(
            f'{path} is not a list of runs as reports write it, {RUN_LIST}: {reason}'
        ) from error
    if not results:
        raise UserError(f'{path} lists no runs')
    return results


def _listed(path: Path) -> list[Run]:
    """Return the runs of a list, the last line first."""
    runs = []
    for result in reversed(read_list(path)):
        name = f'{result.task}_{result.method}_seed{result.seed}'
        run = (name, result.task, result.method, result.seed, path / name)
        runs.append(Run(*run, FINISHED, result=result, backbone=result.backbone))
    return runs


def _found(folder: Path) -> list[Run]:
    """Find the runs below a folder."""
    places = _places(folder)
    plans = [place / SWEEP_FILE for place, files in places.items() if SWEEP_FILE in files]
    runs = [run for path in plans for run in _planned(path, folder)]
    planned = {os.path.realpath(run.folder) for run in runs}  # a link may have been found first
    others = [place for place, files in places.items() if {RESULT_FILE, RECORD_FILE} & files]
    return [*runs, *_plain(folder, [p for p in others if os.path.realpath(p) not in planned])]


def _places(folder: Path) -> dict[Path, set[str]]:
    """Return the folders below ``folder`` and their files, behind links too, and each once."""
    seen: set[tuple[int, int]] = set()
    found = {}
    for at, folders, files in os.walk(folder, followlinks=True):
        own = os.stat(at)
        if (own.st_dev, own.st_ino) in seen:
            folders.clear()  # another way to it, which may be a loop
        else:
            seen.add((own.st_dev, own.st_ino))
            found[Path(at)] = set(files)
    return dict(sorted(found.items()))


def _with_backbone_names(runs: list[Run]) -> list[Run]:
    names = backbone_labels((run.method, run.backbone) for run in runs)
    return [replace(run, backbone_name=names[run.method, run.backbone]) for run in runs]


def _unknown_bases(runs: list[Run]) -> list[str]:
    """Remark on each backbone of which only some results name their base weights."""
    bases = defaultdict(Counter)
    for run in runs:
        if run.result and run.backbone.base != RANDOM:
            bases[run.backbone_name][run.backbone.base] += 1
    return [
        f'{counts[None]} of the runs with {name} do not say which base weights they had: they are '
        'taken for those of the others'
        for name, counts in bases.items()
        if counts[None] and len(counts) > 1
    ]


def _planned(path: Path, root: Path) -> list[Run]:
    """Read the runs of a sweep from its plan."""
    plan = _read_json(path)
    try:
        split = VALIDATION if (plan.get('options') or {}).get('validate') else TEST
        folders = [path.parent / entry['name'] for entry in plan['runs']]
        runs = [_planned_run(*run, root, split) for run in zip(plan['runs'], folders, strict=True)]
        return _with_known_backbone(runs)
    except (KeyError, TypeError) as error:
        raise UserError(
            f'{path} is not the plan of a sweep: {error!r} is not as expected'
        ) from error


def _with_known_backbone(runs: list[Run]) -> list[Run]:
    """Give runs of an unknown backbone that of the others, if those have a single one."""
    archs = {run.backbone.arch: run.backbone for run in runs if run.backbone != UNKNOWN}
    if len(archs) != 1:
        return runs
    (known,) = archs.values()
    known = replace(known, base=None)
    is_open = [run.result is None and run.backbone == UNKNOWN for run in runs]
    return [
        replace(run, backbone=known) if unknown else run
        for run, unknown in zip(runs, is_open, strict=True)
    ]


def _planned_run(entry: dict[str, Any], folder: Path, root: Path, split: str) -> Run:
    status = _read_status(folder / STATUS_FILE)
    found = _result_of(folder, status.get('state', MISSING))
    if found is None and status.get('state') == FINISHED:
        status = {'state': UNFINISHED, 'message': f'its sweep says finished, without {RESULT_FILE}'}
    return Run(
        name=str(folder.relative_to(root)),
        task=entry['task'],
        method=spelled_as_preset(entry['method'], entry.get('settings')),
        seed=entry['seed'],
        folder=folder,
        state=FINISHED if found else status.get('state', MISSING),
        message='' if found else str(status.get('message') or ''),
        result=found,
        backbone=found.backbone if found else Backbone(**entry.get('backbone', {})),
        planned_split=split,
    )


def _read_status(path: Path) -> dict[str, Any]:
    """Read the last state of a run in its sweep; return an empty dict if there is none.

    That of a run that waits may be an empty file after a loss of power.
    """
    return _read_json(path) if path.is_file() and path.stat().st_size else {}


def _result_of(folder: Path, state: str = MISSING) -> Result | None:
    """Return the result of a run that has finished.

    ``tools/test.py`` leaves one for any checkpoint. So it is the run's record that says whether it
    has finished, or for a run of an older version its state in the sweep.
    """
    path = folder / RESULT_FILE
    if not path.is_file():
        return None
    finished = state == FINISHED or is_finished(folder)
    if finished is None:
        finished = state in (MISSING, 'waiting')
    return read_result(path) if finished else None


def _plain(folder: Path, places: Sequence[Path]) -> Iterable[Run]:
    """Yield the runs outside of sweeps, those that have finished first."""
    results = {place: _result_of(place) for place in places}
    for place, result in results.items():
        if result is not None:
            name = str(place.relative_to(folder))
            run = (name, result.task, result.method, result.seed, place)
            yield Run(*run, FINISHED, result=result, backbone=result.backbone)
    for place, result in results.items():
        if result is None:
            yield from _unfinished(place / RECORD_FILE, folder)


def _unfinished(path: Path, root: Path) -> Iterable[Run]:
    """Yield a run that was started and has no result, if its config names a task."""
    from memba_vision.runs.config import method_of_record  # needs torch

    try:
        start = json.loads(path.read_text(encoding='utf-8'))[-1]
        config, task = start['config'], start['config'].get('task')
        method = method_of_record(start['config_file'], config)
        seed, backbone = start['seed'], _backbone(config)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # the record is damaged, or there is none
    if task is not None:
        name = str(path.parent.relative_to(root))
        run = (name, task, method, seed, path.parent)
        is_there = path.with_name(RESULT_FILE).is_file()
        reason = f'{RESULT_FILE} is of a checkpoint before its end' if is_there else ''
        split = VALIDATION if validates(config) else TEST
        yield Run(
            *run,
            UNFINISHED,
            reason or f'no {RESULT_FILE}',
            backbone=backbone,
            planned_split=split,
        )


def _backbone(config: dict[str, Any]) -> Backbone:
    return backbone_of(config) if 'model' in config else UNKNOWN


def _without_repeated(runs: list[Run]) -> tuple[list[Run], list[str]]:
    same = defaultdict(list)
    for run in runs:
        same[run.identity].append(run)
    kept, remarks = [], []
    for group in same.values():
        # The moment is in a file, which need not be read of thousands.
        newest, *others = sorted(group, key=_moment, reverse=True) if len(group) > 1 else group
        kept.append(newest)
        remarks += [
            f'{run.name} is left out: {newest.name} has the same method, task and seed'
            f'{_other_settings(run, newest)}'
            for run in others
        ]
    return kept, remarks


def _averaged_with_other_settings(runs: list[Run]) -> list[str]:
    """Remark on seeds of one method and task that were trained with different settings."""
    groups: dict[tuple, dict[Path, Run]] = defaultdict(dict)
    for run in runs:
        if run.result:
            # Of one sweep they are the same, and reading thousands of records would take long.
            place = run.folder.parent if (run.folder.parent / SWEEP_FILE).exists() else run.folder
            group = run.backbone_name, run.method, run.task, run.split
            groups[group].setdefault(place, run)
    remarks = []
    for first, *others in map(dict.values, groups.values()):
        for run in others:
            if found := _other_settings(run, first):
                remarks.append(f'{run.name} and {first.name} are averaged{found}')
    return remarks


def _other_settings(run: Run, other: Run) -> str:
    """Return the settings, but for the seed, in which another run differs; '' without a record."""
    if run.result is None or other.result is None:
        return ''
    try:
        passing = (*PASSING, 'randomness')
        before, now = (flat_settings(read_config(each.folder), passing) for each in (run, other))
    except UserError:
        return ''
    found = describe_differences(before, now)
    return f', with other settings ({found})' if found else ''


def _moment(run: Run) -> tuple[bool, str, float]:
    """Return a key that sorts finished runs last, and the newest of them at the end.

    The time of a file is that of its copying in a folder that was copied; it counts where the
    record says nothing.
    """
    if run.result is None:
        return False, '', 0.0
    file = run.folder / RESULT_FILE  # runs of a list have none
    return True, last_start(run.folder), file.stat().st_mtime if file.is_file() else 0.0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise UserError(f'{path} cannot be read: restore or remove it') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} cannot be read: restore or remove it')
    return content
