"""Print all methods as one table: what they train, and what is known of their accuracy.

python tools/methods.py
python tools/methods.py --config configs/demo/digits_memba.py --out methods.md
python tools/methods.py --backbones vim-tiny vim-small
python tools/methods.py --step0 vim_s_midclstok_80p5acc.pth --images data/vtab-1k/cifar/images
"""

import argparse
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.errors import UserError
from memba_vision.files import encode_surrogates, write_atomically

VIM_SMALL = Path(__file__).parents[1] / 'configs' / 'vtab1k' / 'cifar100_memba.py'
WORK_DIRS = 'work_dirs'


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('--config', help='whose backbone is adapted; default is Vim-S')
    parser.add_argument(
        '--backbones',
        nargs='+',
        metavar='NAME',
        help='count on these models of configs/_base_/models instead, side by side, and say why a '
        'method is not there',
    )
    parser.add_argument(
        '--runs', help=f'the folder with the runs whose accuracy is shown (default: {WORK_DIRS})'
    )
    parser.add_argument(
        '--step0',
        metavar='CHECKPOINT',
        help="compare each method's features before training with those of these weights",
    )
    parser.add_argument('--images', metavar='DIR', help='what --step0 looks at, instead of noise')
    parser.add_argument('--out', metavar='FILE', help='write the table to FILE.md or .csv too')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Print the table that the command line asks for."""
    from memba_vision.files import csv_table
    from memba_vision.reports.text_tables import markdown_table

    if args.out and Path(args.out).suffix not in ('.md', '.csv'):
        raise UserError(f'--out {args.out}: the name must end in .md or .csv')
    if args.images and not args.step0:
        raise UserError('--images goes with --step0 CHECKPOINT')
    if args.backbones and args.step0:
        raise UserError('--step0 goes with --config: it looks at one backbone')
    if args.backbones and (args.config or args.runs):
        raise UserError(
            '--backbones counts parameters alone, on shipped models: leave --config and --runs out'
        )
    table, first_number, notes = by_backbone(args) if args.backbones else of_one(args)
    text = f'{markdown_table(table, first_number)}\n{notes}'
    print(text, end='')
    if args.out:
        content = text if args.out.endswith('.md') else csv_table(table)
        write_atomically(args.out, encode_surrogates(content))


def of_one(args: argparse.Namespace) -> tuple[list[tuple[str, ...]], int, str]:
    """Return the table of one backbone, its first column of numbers, and notes."""
    from memba_vision.reports.method_table import (
        FIRST_NUMBER,
        measured_runs,
        method_notes,
        method_table,
    )
    from memba_vision.reports.step0 import load_step0
    from memba_vision.runs.config import load_config

    config = load_config(args.config or str(VIM_SMALL), {}, None)
    step0 = load_step0(config, args.step0, args.images) if args.step0 else None
    folder = args.runs or (WORK_DIRS if Path(WORK_DIRS).exists() else None)
    runs, remarks = measured_runs(config, folder) if folder else ([], [])
    notes = method_notes() + ''.join(f'* {remark}.\n' for remark in remarks)
    return method_table(config, runs, step0), FIRST_NUMBER, notes


def by_backbone(args: argparse.Namespace) -> tuple[list[tuple[str, ...]], int, str]:
    """Return the table of several backbones, its first column of numbers, and the reasons."""
    from memba_vision.reports.backbone_table import backbone_table, notes

    table, reasons = backbone_table(args.backbones)
    return table, 1, notes(reasons)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
