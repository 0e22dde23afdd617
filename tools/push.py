"""Share a trained model on the Hugging Face Hub: adapters, head, and a card that says how good.

python tools/push.py work_dirs/adapt_photos/memba OWNER/flowers --private
python tools/push.py work_dirs/adapt_photos/memba --out flowers --licence cc-by-4.0
"""

import argparse
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.errors import UserError
from memba_vision.runs.tool_options import RUN


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('run', metavar='RUN', help=RUN.partition(', or ')[0])
    parser.add_argument('repository', nargs='?', metavar='OWNER/NAME', help='made if there is none')
    parser.add_argument('--out', type=Path, metavar='FOLDER', help='write a folder, push nothing')
    parser.add_argument(
        '--licence',
        '--license',
        metavar='NAME',
        help="of adapters and head, by the Hub's names; without, that of the backbone's weights",
    )
    parser.add_argument(
        '--private', action='store_true', help='into a repository that you alone see'
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Share as the command line says."""
    from memba_vision.reports.hub import push_to_hub, save_pretrained

    if bool(args.repository) == bool(args.out):
        raise UserError('give OWNER/NAME of the Hub or --out FOLDER, one of the two')
    if args.out:
        folder = save_pretrained(args.run, args.out, args.licence)
        print(f'{folder}: {", ".join(sorted(path.name for path in folder.iterdir()))}')
        return
    print(push_to_hub(args.run, args.repository, args.licence, args.private))
    print(f'use it: memba-vision predict photo.jpg --run hf://{args.repository}')


if __name__ == '__main__':
    run_tool(parse_arguments, main)
