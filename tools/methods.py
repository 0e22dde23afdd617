"""Print all methods as one table: what they train, and what is known of their accuracy.

python tools/methods.py
python tools/methods.py --config configs/demo/digits_memba.py --out methods.md
python tools/methods.py --step0 vim_s_midclstok_80p5acc.pth --images data/vtab-1k/cifar/images
"""

import argparse
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.errors import UserError
from memba_vision.files import write_atomically

VIM_SMALL = Path(__file__).parents[1] / 'configs' / 'vtab1k' / 'cifar100_memba.py'


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--config', default=str(VIM_SMALL), help='whose backbone is adapted; default is Vim-S'
    )
    parser.add_argument(
        '--runs', default='work_dirs', help='the folder with the runs whose accuracy is shown'
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
    from memba_vision.reports.method_table import FIRST_NUMBER, method_notes, method_table
    from memba_vision.reports.step0 import load_step0
    from memba_vision.reports.text_tables import csv_table, markdown_table
    from memba_vision.runs.config import load_config

    if args.out and Path(args.out).suffix not in ('.md', '.csv'):
        raise UserError(f'--out {args.out}: the name must end in .md or .csv')
    if args.images and not args.step0:
        raise UserError('--images goes with --step0 CHECKPOINT')
    config = load_config(args.config, {}, None)
    step0 = load_step0(config, args.step0, args.images) if args.step0 else None
    table = method_table(config, args.runs, step0)
    text = f'{markdown_table(table, FIRST_NUMBER)}\n{method_notes()}'
    print(text, end='')
    if args.out:
        content = text if args.out.endswith('.md') else csv_table(table)
        write_atomically(args.out, content.encode())


if __name__ == '__main__':
    run_tool(parse_arguments, main)
