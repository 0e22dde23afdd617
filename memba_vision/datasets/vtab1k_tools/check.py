"""Check every list and every image of VTAB-1k against the table of tasks."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memba_vision.datasets.own_data import CLASSES
from memba_vision.datasets.tasks import OWN_DATA, SPLIT_SIZES, Task
from memba_vision.datasets.vtab1k import read_list_file
from memba_vision.datasets.vtab1k_tools.findings import MISSING, NOTE, WRONG, TaskReport
from memba_vision.datasets.vtab1k_tools.images import ImageFacts, examine_all, summary
from memba_vision.datasets.vtab1k_tools.manifest import MANIFEST, read_manifest, write_manifest
from memba_vision.errors import UserError
from memba_vision.files import sha256_of

UNPACK_AGAIN = 'unpack the archive again; if that does not help, download it again'
#: Tasks whose images came without loss from their authors: a JPEG of them has lost something.
LOSSLESS_ORIGINALS = frozenset(
    [
        'cifar100',
        'svhn',
        'camelyon',
        'clevr_count',
        'clevr_distance',
        'kitti',
        'dsprites_location',
        'dsprites_orientation',
        'smallnorb_azimuth',
        'smallnorb_elevation',
    ]
)
#: In dSprites the first and the last orientation, 0 and 2 pi, are the same picture.
TASKS_WITH_TWINS = frozenset(['dsprites_location', 'dsprites_orientation'])
SHARE_OF_TWINS = 0.05  # of the training images; about 1 in 200 is to be expected

Lists = dict[str, list[tuple[str, int]]]  # paths below the task's folder and labels, by split


@dataclass(frozen=True)
class Settings:
    """Settings of a check.

    Args:
        decode: decode every image; False looks at formats and hashes only.
        jobs: processes to use.
        renew: write new manifests instead of comparing with those that are there.
        split_sizes: number of images that each training list must have.
    """

    decode: bool = True
    jobs: int = 1
    renew: bool = False
    split_sizes: Mapping[str, int] = field(default_factory=lambda: SPLIT_SIZES)


def check_tree(root: Path, tasks: Iterable[Task], settings: Settings) -> list[TaskReport]:
    """Check ``root/<folder>`` for each task; manifests are written for those that are right.

    Raises:
        UserError: there is no folder ``root``, or it lies one level deeper or higher.
    """
    tasks = list(tasks)
    if not root.is_dir():
        raise UserError(f'no folder {root}: give the folder that holds cifar/, caltech101/, …')
    if not any((root / task.folder).is_dir() for task in tasks):
        for other in (*sorted(root.iterdir()), root.resolve().parent):
            if any((other / task.folder).is_dir() for task in tasks):
                raise UserError(f'{root} holds no task, but {other} does: check that one')
    return [check_task(root, task, settings) for task in tasks]


def check_task(root: Path, task: Task, settings: Settings) -> TaskReport:
    """Check one task; see :func:`check_tree`."""
    report, folder = TaskReport(task), root / task.folder
    if not folder.is_dir():
        report.add(MISSING, f'there is no folder {folder}', 'the archive lacks it: get another one')
        return report
    sizes = {**settings.split_sizes, 'test': task.num_test}
    lists = _read_lists(folder, sizes, report)
    _check_labels(lists, report)
    paths = sorted({path for entries in lists.values() for path, _ in entries})
    files = [str(folder / path) for path in paths]
    facts = dict(zip(paths, _facts(files, task.name, settings), strict=True))
    _check_images(folder, facts, report)
    _check_that_lists_agree(lists, facts, report)
    _check_that_test_is_apart(lists, facts, report)
    _check_manifest(folder, lists, facts, settings.renew, report)
    return report


def _facts(files: Sequence[str], name: str, settings: Settings) -> list[ImageFacts]:
    return [facts for _, facts in examine_all(files, settings.decode, settings.jobs, name)]


def _read_lists(folder: Path, sizes: Mapping[str, int], report: TaskReport) -> Lists:
    lists = {}
    for split, expected in sizes.items():
        path = folder / f'{split}.txt'
        if not path.is_file():
            report.add(MISSING, f'there is no list {path}', UNPACK_AGAIN)
            continue
        try:
            entries = read_list_file(path, report.task.num_classes)
        except UserError as error:
            report.add(WRONG, str(error), UNPACK_AGAIN)
            continue
        inside = f'{folder}/'
        lists[split] = [(name.removeprefix(inside), label) for name, label in entries]
        _check_list(path, lists[split], expected, report)
    return lists


def _check_list(
    path: Path, entries: list[tuple[str, int]], expected: int, report: TaskReport
) -> None:
    if len(entries) != expected and report.task.group != OWN_DATA:
        text = f'{path} lists {len(entries):,} images, expected {expected:,}'
        report.add(WRONG, text, UNPACK_AGAIN)
    times = Counter(name for name, _ in entries)
    twice = [name for name, count in times.items() if count > 1]
    if twice:
        text = f'{path} lists {len(twice):,} image(s) more than once, such as {twice[0]}'
        report.add(WRONG, text, UNPACK_AGAIN)
    outside = [name for name in times if '..' in Path(name).parts or Path(name).is_absolute()]
    if outside:
        text = f'{path} names files outside the folder of the task, such as {outside[0]}'
        report.add(WRONG, text, 'get the archive from where you trust it')


def _check_labels(lists: Lists, report: TaskReport) -> None:
    labels = {label for entries in lists.values() for _, label in entries}
    last = report.task.num_classes - 1
    if labels and (min(labels), max(labels)) != (0, last):
        text = f'labels run from {min(labels)} to {max(labels)}, expected 0 to {last}'
        report.add(WRONG, text, 'the labels are shifted, or the lists are of another task')


def _check_images(folder: Path, facts: dict[str, ImageFacts], report: TaskReport) -> None:
    report.images = len(facts)
    problems = {path: fact.problem for path, fact in facts.items() if fact.problem}
    absent = [path for path in problems if not (folder / path).is_file()]
    if absent:
        text = f'{len(absent):,} listed image(s) do not exist, such as {folder / absent[0]}'
        report.add(MISSING, text, UNPACK_AGAIN)
    broken = [path for path in problems if path not in set(absent)]
    if broken:
        text = f'{len(broken):,} image(s) cannot be read, such as {folder / broken[0]}'
        report.add(WRONG, f'{text} ({problems[broken[0]]})', UNPACK_AGAIN)
    good = [fact for fact in facts.values() if not fact.problem]
    report.pixels = summary(good)
    report.formats = Counter(f'{f.format} (lossy)' if f.lossy else f.format for f in good)
    lossy = sum(fact.lossy for fact in good)
    if lossy and report.task.name in LOSSLESS_ORIGINALS:
        report.add(
            NOTE,
            f'{lossy:,} of {len(good):,} images are lossy, the original ones are not',
            'compare only with results on the same archive, or build the task from the originals',
        )


def _check_that_lists_agree(lists: Lists, facts: dict[str, ImageFacts], report: TaskReport) -> None:
    if not {'train800', 'val200', 'train800val200'} <= lists.keys():
        return
    both, parts = (
        Counter((facts[path].sha256, label) for split in splits for path, label in lists[split])
        for splits in (['train800val200'], ['train800', 'val200'])
    )
    differing = max((both - parts).total(), (parts - both).total())
    if differing:
        text = (
            f'train800val200.txt differs from train800.txt and val200.txt in {differing} image(s)'
        )
        report.add(WRONG, f'{text} or labels', UNPACK_AGAIN)


def _check_that_test_is_apart(
    lists: Lists, facts: dict[str, ImageFacts], report: TaskReport
) -> None:
    test = {facts[path].sha256: path for path, _ in lists.get('test', [])}
    train = {
        facts[path].sha256: path
        for split, entries in lists.items()
        if split != 'test'
        for path, _ in entries
    }
    shared = [sha256 for sha256 in train if sha256 and sha256 in test]
    if not shared:
        return
    text = (
        f'{len(shared)} training image(s) are in the test set too, such as {train[shared[0]]}, '
        f'the same as {test[shared[0]]}'
    )
    if report.task.name in TASKS_WITH_TWINS and len(shared) <= SHARE_OF_TWINS * len(train):
        advice = 'a few are normal: the orientations 0 and 2 pi of a sprite are the same picture'
        report.add(NOTE, text, advice)
    else:
        report.add(WRONG, text, 'accuracies would be too high: get another archive')


def _check_manifest(
    folder: Path, lists: Lists, facts: dict[str, ImageFacts], renew: bool, report: TaskReport
) -> None:
    found = {path: fact.sha256 for path, fact in facts.items() if fact.sha256}
    names = (*(f'{split}.txt' for split in lists), CLASSES)
    found |= {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}
    try:
        before = None if renew else read_manifest(folder)
    except UserError as error:
        report.add(WRONG, str(error), 'then compare again')
        return
    if before is not None:
        _compare(folder, before, found, report)
    elif report.verdict == 'right':
        try:
            write_manifest(folder, found)
            report.manifest = 'written'
        except (OSError, UserError) as error:
            report.manifest = 'not written'
            report.add(NOTE, f'cannot write {folder / MANIFEST}', ' '.join(str(error).split()))


def _compare(
    folder: Path, before: dict[str, str], found: dict[str, str], report: TaskReport
) -> None:
    changed = sorted(path for path in before.keys() & found if before[path] != found[path])
    differing = {
        'changed': changed,
        'vanished': sorted(before.keys() - found),
        'were added': sorted(found.keys() - before - {CLASSES}),  # older manifests lack it
    }
    report.manifest = 'differs' if any(differing.values()) else 'verified'
    for how, paths in differing.items():
        if paths:
            report.add(
                WRONG,
                f'{len(paths):,} file(s) {how} since {folder / MANIFEST} was written, such as '
                f'{paths[0]}',
                'unpack the archive again, or accept the change with --renew-manifest',
            )
