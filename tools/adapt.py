"""Adapt a model to a folder of photos, and write a page that shows how good it is.

python tools/adapt.py photos/
python tools/adapt.py photos.csv --method lora --epochs 20 --work-dir work_dirs/flowers
"""

import argparse

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.runs.tool_options import HELP, add_options_argument, positive, seed_number


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'photos',
        help='a folder with one folder per class, or with these in train, val and test; a csv with '
        "lines path,label; or a dataset that Hugging Face's library has saved",
    )
    parser.add_argument(
        '--backbone',
        default='vim-mini-v2',
        metavar='NAME',
        help='a model of configs/_base_/models, or a file like those (default: vim-mini-v2, which '
        'comes along and looks at 48 pixels)',
    )
    parser.add_argument(
        '--method',
        '--peft',
        default='memba',
        metavar='METHOD',
        help='a method of configs/_base_/peft, or a file like those (default: memba)',
    )
    parser.add_argument('--work-dir', help='the folder for everything (default: work_dirs/adapt_…)')
    parser.add_argument(
        '--epochs',
        type=positive,
        metavar='N',
        help='train for N epochs (without, it follows the number of photos)',
    )
    parser.add_argument(
        '--seed', type=seed_number, default=0, help='of the split and of the training'
    )
    parser.add_argument(
        '--balance', action='store_true', help='let small classes count as much as large ones'
    )
    parser.add_argument(
        '--skip-broken', action='store_true', help='go on without files that cannot be used'
    )
    add_options_argument(parser, f'{HELP} (of both trainings)')
    args = parser.parse_args()
    args.options = vars(args).pop('cfg_options')
    return args


def main(args: argparse.Namespace) -> None:
    """Adapt as the command line says."""
    from memba_vision.errors import GO_ON, Terminated
    from memba_vision.photos.adapt import adapt

    try:
        adapt(**vars(args), tell=lambda line: print(line, flush=True))
    except (KeyboardInterrupt, Terminated) as end:
        what = str(end).removesuffix(GO_ON) or 'interrupted'
        raise type(end)(f'{what}; the same command goes on with what is finished') from end


if __name__ == '__main__':
    run_tool(parse_arguments, main)
