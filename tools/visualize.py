"""Show what Memba's membranes do with images: maps of their potentials, as PNG and as a page.

python tools/visualize.py photo.jpg                     # pre-trained backbone, nothing trained
python tools/visualize.py photo.jpg --run work_dirs/digits_memba
python tools/visualize.py photo.jpg --compare work_dirs/digits_memba         # before and after
python tools/visualize.py photo.jpg --run work_dirs/a --compare work_dirs/b --layers 0 -1
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.runs.tool_options import RUN

if TYPE_CHECKING:
    from memba_vision.serving.visualize import Subject

DEMO = Path(__file__).parents[1] / 'configs' / 'demo' / 'digits_memba.py'


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='files, and folders of images')
    parser.add_argument('--run', '--checkpoint', metavar='RUN', help=RUN)
    parser.add_argument(
        '--config', help="without, the one in run.json in the checkpoint's folder, or the demo's"
    )
    parser.add_argument('--compare', metavar='RUN', help='another one, shown beside the first')
    parser.add_argument(
        '--layers',
        type=int,
        nargs='+',
        default=(),
        metavar='N',
        help='the layers to show, from 0; -1 is the last. Without, four of them',
    )
    parser.add_argument('--out', default='work_dirs/membrane', help='a folder')
    parser.add_argument('--device', help='cpu or cuda; without, a GPU where there is one')
    return parser.parse_args()


def find_subjects(args: argparse.Namespace) -> list[Subject]:
    """The models that the command line names.

    Raises:
        UserError: a model cannot be loaded.
    """
    from memba_vision.runs.config import load_config
    from memba_vision.serving.visualize import untrained_subject

    if args.run is None:
        config = load_config(args.config or str(DEMO), {}, None)
        subjects = [untrained_subject(config, args.device)]
    else:
        subjects = [load_subject(args.run, args)]
    if args.compare:
        subjects.append(load_subject(args.compare, args))
    return subjects


def load_subject(place: str, args: argparse.Namespace) -> Subject:
    """The model of a run, by its own config where that is known."""
    from memba_vision.runs.checkpoints import find_checkpoint
    from memba_vision.runs.config import load_config
    from memba_vision.runs.record import has_record
    from memba_vision.serving.visualize import trained_subject

    checkpoint = str(find_checkpoint(place))
    recorded = has_record(Path(checkpoint).parent)
    given = args.config if place != args.compare or not recorded else None
    config = load_config(given, {}, None) if given else None
    return trained_subject(checkpoint, config, args.device)


def main(args: argparse.Namespace) -> None:
    """Draw as the command line says."""
    from memba_vision.serving.images import expand_folders
    from memba_vision.serving.visualize import write_page

    subjects = find_subjects(args)
    images = expand_folders(args.images, print)
    page = write_page(subjects, images, args.layers, args.out)
    if not any(subject.classes for subject in subjects):
        print('Nothing is trained here; for a trained model: --run work_dirs/digits_memba')
    print(f'Open {page} in a browser; the pictures are beside it.')


if __name__ == '__main__':
    run_tool(parse_arguments, main)
