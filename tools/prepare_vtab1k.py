"""Download, unpack and check VTAB-1k, or build a task in its format from other images.

python tools/prepare_vtab1k.py download && python tools/prepare_vtab1k.py extract
python tools/prepare_vtab1k.py check data/vtab-1k
python tools/prepare_vtab1k.py build --from photos/ --task flowers --out data/own
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.datasets.tasks import MINI_TASKS, VTAB1K_TASKS, Task, find_task
from memba_vision.datasets.vtab1k_tools import archive
from memba_vision.errors import UserError
from memba_vision.runs.tool_options import positive, positive_number
from memba_vision.sweeps.devices import usable_cores

if TYPE_CHECKING:
    from memba_vision.datasets.vtab1k_tools.build import Sizes

NOT_RIGHT_STATUS = 1


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    _add_download(commands.add_parser('download', help='get the archive (goes on if interrupted)'))
    _add_extract(commands.add_parser('extract', help='unpack it (goes on if interrupted)'))
    _add_check(commands.add_parser('check', help='check every list and every image'))
    _add_build(commands.add_parser('build', help='make one task from other images'))
    return parser.parse_args()


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', type=Path, default=Path('data/vtab-1k.zip'))
    parser.add_argument('--url', help='an http(s) address; without, Google Drive through gdown')
    parser.set_defaults(run=run_download)


def _add_extract(parser: argparse.ArgumentParser) -> None:
    default = Path('data/vtab-1k.zip')
    parser.add_argument('archive', type=Path, nargs='?', default=default, help='a zip or a tar')
    parser.add_argument('--out', type=Path, default=Path('data'))
    most = archive.MAX_BYTES / 1e9
    parser.add_argument('--max-gigabytes', type=positive_number, default=most, metavar='N')
    parser.set_defaults(run=run_extract)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('root', type=Path, nargs='?', default=Path('data/vtab-1k'), metavar='DIR')
    parser.add_argument(
        '--tasks', nargs='+', metavar='TASK', help='these alone, not all 19; your own too'
    )
    parser.add_argument('--quick', action='store_true', help='do not decode the images')
    parser.add_argument(
        '--renew-manifest', action='store_true', help='accept the files as they are now'
    )
    _add_jobs(parser)
    parser.set_defaults(run=run_check)


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--from',
        dest='source',
        type=Path,
        required=True,
        metavar='DIR',
        help='one folder of images per class, or a csv with lines "path,label"',
    )
    parser.add_argument('--test-from', type=Path, metavar='DIR', help='the same for the test split')
    parser.add_argument('--task', required=True, help='a task of VTAB-1k, or a name of your own')
    parser.add_argument('--out', type=Path, default=Path('data/own'))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--train', type=int, help='images in train800.txt; without, 800')
    parser.add_argument('--val', type=int, help='images in val200.txt; without, 200')
    parser.add_argument('--test', type=int, help='images in test.txt; without, all that are left')
    _add_jobs(parser)
    parser.set_defaults(run=run_build)


def _add_jobs(parser: argparse.ArgumentParser) -> None:
    cores = usable_cores()
    parser.add_argument('--jobs', type=positive, default=cores, help=f'processes (here {cores})')


def run_download(args: argparse.Namespace) -> None:
    """Download the archive."""
    from memba_vision.datasets.vtab1k_tools.fetch import fetch_archive

    fetch_archive(args.out, args.url)
    print(f'{args.out}: {args.out.stat().st_size:,} bytes; next: "extract {args.out}"')


def run_extract(args: argparse.Namespace) -> None:
    """Unpack an archive."""
    count = archive.extract(args.archive, args.out, int(args.max_gigabytes * 1e9))
    print(f'{args.out}: {count:,} files; next: "check" the folder that holds cifar/, …')


def run_check(args: argparse.Namespace) -> None:
    """Check the data; exit status 1 unless all of it is right."""
    from memba_vision.datasets.vtab1k_tools.check import Settings, check_tree
    from memba_vision.datasets.vtab1k_tools.findings import as_text

    tasks = [_task(args.root, name) for name in args.tasks or VTAB1K_TASKS]
    settings = Settings(not args.quick, args.jobs, args.renew_manifest)
    reports = check_tree(args.root, tasks, settings)
    print(as_text(reports), end='')
    if any(report.verdict != 'right' for report in reports):
        sys.exit(NOT_RIGHT_STATUS)


def _task(root: Path, name: str) -> Task:
    from memba_vision.datasets.own_data import CLASSES, own_task

    if name not in VTAB1K_TASKS and (root / name / CLASSES).is_file():
        return own_task(root, name)
    return find_task(name, VTAB1K_TASKS | MINI_TASKS)


def run_build(args: argparse.Namespace) -> None:
    """Build one task."""
    from memba_vision.datasets.vtab1k_tools.build import build_task, count_images
    from memba_vision.datasets.vtab1k_tools.images import examine_all, summary
    from memba_vision.datasets.vtab1k_tools.skipped_entries import LEFT_OUT, SkippedEntry
    from memba_vision.datasets.vtab1k_tools.skipped_entries import as_text as skipped_text
    from memba_vision.datasets.vtab1k_tools.sources import labelled_images
    from memba_vision.reports.text_tables import markdown_table

    folder = _place(args)
    skipped: list[SkippedEntry] = []
    try:
        images = labelled_images(args.source, skipped)
        test = labelled_images(args.test_from, skipped) if args.test_from else None
    finally:  # the skipped files may explain an error
        print(skipped_text(skipped), end='')
    task = VTAB1K_TASKS.get(args.task)
    found = len({label for _, label in [*images, *(test or [])]})
    if task and found != task.num_classes:
        raise UserError(f'{task.name} has {task.num_classes} classes, {args.source} {found}')
    sizes, known = _sizes(args), len(skipped)
    try:
        counts = build_task(folder, images, sizes, args.seed, test, args.jobs, skipped)
    finally:
        print(skipped_text(skipped[known:]), end='')
    if skipped:
        print(f'all that was left out: {folder / LEFT_OUT}')
    print(markdown_table(count_images(folder), 1), end='')
    made = ', '.join(f'{count:,} images in {name}' for name, count in counts.items())
    print(f'{folder}: {made}')
    built = [str(path) for path in (folder / 'images').glob('*/*')]
    facts = (found for _, found in examine_all(built, False, args.jobs, args.task))
    print(summary(facts))


def _sizes(args: argparse.Namespace) -> Sizes:
    """The numbers that the command line asks for, or that VTAB-1k prescribes."""
    from memba_vision.datasets.vtab1k_tools.build import Sizes

    asked = {'train800': args.train, 'val200': args.val, 'test': args.test}
    asked = {split: size for split, size in asked.items() if size is not None}
    if args.task not in VTAB1K_TASKS:
        return Sizes(**asked)
    prescribed = Sizes(test=VTAB1K_TASKS[args.task].num_test)
    if Sizes(**vars(prescribed) | asked) != prescribed:
        raise UserError(
            f'{args.task} has the sizes that VTAB-1k prescribes: leave out --train, --val and '
            '--test, or give a --task of your own'
        )
    return prescribed


def _place(args: argparse.Namespace) -> Path:
    """The folder of the task to build."""
    if args.task in VTAB1K_TASKS:
        return args.out / VTAB1K_TASKS[args.task].folder
    if args.task in MINI_TASKS:  # its results would count as those of the benchmark
        raise UserError(f'--task {args.task}: mini-VTAB has a task of this name: choose another')
    if Path(args.task).name != args.task or args.task in ('', '..') or not args.task.isprintable():
        raise UserError(f'--task {args.task}: expected a name that can be a folder of --out')
    return args.out / args.task


def main(args: argparse.Namespace) -> None:
    """Do as the command line says."""
    args.run(args)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
