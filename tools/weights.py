"""Fetch Vim's published weights, convert them to safetensors, and verify every key.

python tools/weights.py fetch small
python tools/weights.py convert PATH.pth vim-small.safetensors
python tools/weights.py convert PATH.pth averaged.safetensors --key model_ema
python tools/weights.py verify vim-small.safetensors --name small
python tools/weights.py verify larger.safetensors --name small --img-size 384
"""

import argparse
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.zoo.official import OFFICIAL


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    command = commands.add_parser('fetch', help='download and verify (goes on if interrupted)')
    command.add_argument('name', choices=OFFICIAL)
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
    command.add_argument('--name', choices=OFFICIAL, required=True)
    command.add_argument(
        '--img-size', type=int, default=224, help='of the images in training (default: 224)'
    )
    add_choice(command)
    command.set_defaults(run=run_verify)
    return parser.parse_args()


def add_choice(command: argparse.ArgumentParser) -> None:
    """Add what chooses among several sets of weights in a file."""
    command.add_argument('--key', help="the file's entry with the weights, such as model_ema")
    command.add_argument('--prefix', help='take the weights whose names start with it')


def run_fetch(args: argparse.Namespace) -> None:
    """Download, record and verify."""
    from memba_vision.zoo.official_weights import default_folder, fetch

    path, compared = fetch(OFFICIAL[args.name], args.out or default_folder(), args.url)
    how = 'the same as it was first recorded' if compared else 'size and SHA-256 recorded'
    print(f'{path}: every key fits Vim {args.name}; {how}')


def run_convert(args: argparse.Namespace) -> None:
    """Convert."""
    from memba_vision.zoo.official_weights import convert

    weights = convert(args.checkpoint, args.out, args.prefix, args.key, args.any_variant)
    values = sum(tensor.numel() for tensor in weights.values())
    print(f'{args.out}: {len(weights)} tensors, {values:,} values')


def run_verify(args: argparse.Namespace) -> None:
    """Verify."""
    from memba_vision.zoo.official_weights import verify

    official = OFFICIAL[args.name]
    choice = dict(img_size=args.img_size, prefix=args.prefix, key=args.key)
    values = verify(args.checkpoint, official.arch, official.stride, **choice)
    print(f'{args.checkpoint}: every key fits Vim {args.name}, {values:,} values without the head')


def main(args: argparse.Namespace) -> None:
    """Do as the command line says."""
    args.run(args)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
