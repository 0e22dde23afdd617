"""Fetch published weights of all families, convert them to safetensors, and verify every key.

python tools/weights.py list
python tools/weights.py fetch vmamba_tiny_s1l8
python tools/weights.py convert PATH.pth vim-small.safetensors
python tools/weights.py convert PATH.pth averaged.safetensors --key model_ema
python tools/weights.py verify vmamba.safetensors
python tools/weights.py verify larger.safetensors --name vim_small --img-size 384
"""

import argparse
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.errors import UserError
from memba_vision.runs.tool_options import positive
from memba_vision.zoo.official import OFFICIAL, official_name


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    command = commands.add_parser('list', help='the published weights, with licence and accuracy')
    command.set_defaults(run=run_list)
    command = commands.add_parser('fetch', help='download and verify (goes on if interrupted)')
    command.add_argument('name', type=known_name, help='see "list"')
    command.add_argument('--out', type=Path, help="a folder; without, torch's hub folder")
    command.add_argument('--url', help='another address of the same file')
    command.set_defaults(run=run_fetch)
    command = commands.add_parser('convert', help='write the weights alone, as safetensors')
    command.add_argument('checkpoint')
    command.add_argument('out', type=Path, help='*.safetensors')
    add_choice(command)
    command.add_argument(
        '--any-variant',
        action='store_true',
        help='also what its training named another variant of Vim, which loads to something else',
    )
    command.set_defaults(run=run_convert)
    command = commands.add_parser('verify', help='compare the shape of every key')
    command.add_argument('checkpoint')
    command.add_argument(
        '--name', type=known_name, help='what it is to be; without, it is told by its shapes'
    )
    command.add_argument(
        '--img-size', type=positive, help='of the images in training (default: 224)'
    )
    add_choice(command)
    command.set_defaults(run=run_verify)
    return parser.parse_args()


def known_name(name: str) -> str:
    """Return a name of published weights, for argparse."""
    try:
        return official_name(name)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_choice(command: argparse.ArgumentParser) -> None:
    """Add what chooses among several sets of weights in a file."""
    command.add_argument('--key', help="the file's entry with the weights, such as model_ema")
    command.add_argument('--prefix', help='take the weights whose names start with it')


def run_list(args: argparse.Namespace) -> None:
    """Print a table of the published weights."""
    from memba_vision.reports.text_tables import markdown_table
    from memba_vision.weights import licence_of
    from memba_vision.zoo.families import family_title

    rows = [('name', 'family', 'licence', 'file', 'top-1')]
    for name, official in OFFICIAL.items():
        facts = str(licence_of(official.url)), official.file, f'{official.top1:.1f}'
        rows.append((name, family_title(official.family), *facts))
    print(markdown_table(rows, 4), end='')


def run_fetch(args: argparse.Namespace) -> None:
    """Download, record and verify."""
    from memba_vision.weights import licence_of
    from memba_vision.zoo.official_weights import default_folder, fetch

    official = OFFICIAL[args.name]
    print(f'{args.name}: licence: {licence_of(official.url)}', flush=True)
    path, compared = fetch(official, args.out or default_folder(), args.url)
    how = 'the same as it was first recorded' if compared else 'size and SHA-256 recorded'
    print(f'{path}: every key fits {args.name}; {how}')


def run_convert(args: argparse.Namespace) -> None:
    """Convert."""
    from memba_vision.zoo.official_weights import convert

    weights = convert(args.checkpoint, args.out, args.prefix, args.key, args.any_variant)
    values = sum(tensor.numel() for tensor in weights.values())
    print(f'{args.out}: {len(weights)} tensors, {values:,} values')


def run_verify(args: argparse.Namespace) -> None:
    """Verify."""
    from memba_vision.zoo.official_weights import name_of, verify

    choice = dict(prefix=args.prefix, key=args.key)
    name = args.name or name_of(args.checkpoint, **choice)
    values = verify(args.checkpoint, OFFICIAL[name], args.img_size, **choice)
    print(f'{args.checkpoint}: every key fits {name}, {values:,} values without the head')


def main(args: argparse.Namespace) -> None:
    """Do as the command line says."""
    args.run(args)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
