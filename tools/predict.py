"""Say what is on images, with a model that tools/train.py or tools/adapt.py adapted.

python tools/predict.py photo1.jpg photo2.jpg --run work_dirs/flowers_memba/epoch_20.pth
python tools/predict.py photos/ --run work_dirs/flowers_memba --out found.csv
python tools/predict.py --list data/own/flowers/test.txt --run … --confusion matrix.csv
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.engine.class_names import HELP, OPTION
from memba_vision.errors import UserError
from memba_vision.files import check_output_file, encode_surrogates, write_atomically
from memba_vision.runs.tool_options import RUN, add_options_argument, positive

if TYPE_CHECKING:
    from memba_vision.serving.predict import Prediction


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'images',
        nargs='*',
        metavar='IMAGE',
        help='files, and folders, whose folders are looked through too',
    )
    parser.add_argument('--list', type=Path, help='a list file with lines "path label" instead')
    parser.add_argument(
        '--run',
        '--checkpoint',
        dest='checkpoint',
        required=True,
        metavar='RUN',
        help=f'{RUN}; or a shared model: its folder, or hf://OWNER/NAME',
    )
    parser.add_argument('--config', help="without, the one in run.json in the checkpoint's folder")
    parser.add_argument(
        '--top', type=positive, default=1, help='how many classes to name per image'
    )
    parser.add_argument('--format', choices=['csv', 'json'], default='csv')
    parser.add_argument('--out', type=Path, help='a file; without, the terminal')
    parser.add_argument(
        '--confusion', type=Path, metavar='CSV', help='write the confusion matrix of --list'
    )
    parser.add_argument(OPTION, action='store_true', help=f'with --list: {HELP}')
    parser.add_argument('--batch-size', type=positive, default=32)
    parser.add_argument('--device', help='cpu or cuda; without, a GPU where there is one')
    add_options_argument(parser)
    return parser.parse_args()


def check_arguments(args: argparse.Namespace) -> None:
    """Raise a UserError for options that do not go together."""
    if bool(args.images) == bool(args.list):
        raise UserError('give images or --list FILE, one of the two')
    if args.confusion and not args.list:
        raise UserError('--confusion needs the true classes: give --list FILE')
    if args.renamed_classes and not args.list:
        raise UserError(f'{OPTION} compares the classes of a list: give --list FILE')
    if args.list and not args.list.is_file():
        raise UserError(f'no list file at {args.list}')
    if args.out and args.confusion and args.out.resolve() == args.confusion.resolve():
        raise UserError(f'--out and --confusion are both {args.out}: name two files')
    for path in filter(None, (args.out, args.confusion)):
        check_output_file(path)


def main(args: argparse.Namespace) -> None:
    """Predict as the command line says."""
    from torch.hub import tqdm

    from memba_vision.datasets.vtab1k import read_list_file
    from memba_vision.runs.checkpoints import find_checkpoint
    from memba_vision.runs.config import load_config
    from memba_vision.runs.options import apply_options
    from memba_vision.runs.record import read_config
    from memba_vision.serving.predict import Predictor, confusion_csv, csv_pieces, json_pieces

    check_arguments(args)
    config = load_config(args.config, {}, None) if args.config else None
    if args.cfg_options:
        config = config or read_config(find_checkpoint(args.checkpoint).parent)
        apply_options(config, args.cfg_options)
    predictor = Predictor(args.checkpoint, config, args.device)
    problems: list[str] = []
    if args.list:
        predictor.compare_classes(args.list, args.renamed_classes)
        entries = read_list_file(args.list, len(predictor.classes))
        images, labels = map(list, zip(*entries, strict=True))
    else:
        images, labels = files_of(args.images, problems), []
    predictions: list[Prediction] = []
    unreadable: dict[int, UserError] = {}
    found = noted(predictor(images, args.top, args.batch_size, unreadable), predictions)
    if args.out or not sys.stdout.isatty():  # the terminal is free for a bar, if there is one
        found = tqdm(found, total=len(images), unit=' images', disable=None)
    write((csv_pieces if args.format == 'csv' else json_pieces)(found), args.out)
    labels = [label for place, label in enumerate(labels) if place not in unreadable]
    if labels:
        right = sum(p.label == label for p, label in zip(predictions, labels, strict=True))
        tell(f'{right:,} of {len(labels):,} right ({right / len(labels):.2%})')
    if args.confusion:
        matrix = confusion_csv(predictions, labels, predictor.classes)
        write_atomically(args.confusion, encode_surrogates(matrix))
    end_with([*problems, *map(str, unreadable.values())], len(predictions))


def files_of(images: Iterable[str], problems: list[str]) -> list[str]:
    """Return the files, with those in each folder in its place; a folder of none is a problem."""
    from memba_vision.file_kinds import near_paths
    from memba_vision.serving.images import expand_folders

    found = []
    for image in images:
        if '://' not in image and not os.path.lexists(image):
            why = f'No such file or directory{near_paths(image)}'
            problems.append(f'cannot read image {image}: {why}')
            continue
        try:
            found += expand_folders([image], tell)
        except UserError as error:
            problems.append(str(error))
    return found


def end_with(problems: list[str], answered: int) -> None:
    """Raise a UserError where something was not answered, behind a list if that is several."""
    if len(problems) > 1:
        for problem in problems:
            tell(problem)
        problems = [f'{len(problems):,} are not answered, as listed above']
    for problem in problems:
        raise UserError(f'{problem}; answered: {answered:,}')


def tell(line: str) -> None:
    """Say something beside the results."""
    sys.stderr.write(f'{line}\n')


def noted(found: Iterable[Prediction], kept: list[Prediction]) -> Iterator[Prediction]:
    """The predictions as they come; each is kept too."""
    for prediction in found:
        kept.append(prediction)
        yield prediction


def write(pieces: Iterable[str], out: Path | None) -> None:
    """Write a file that is there whole or not at all, or the terminal as the pieces come."""
    if out:
        write_atomically(out, encode_surrogates(''.join(pieces)))
        return
    for piece in pieces:
        print(piece, end='', flush=True)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
