"""Write what a training checkpoint holds in a format that others read.

python tools/export.py work_dirs/vim-mini_shapes/iter_3000.pth vim-mini.safetensors
python tools/export.py work_dirs/digits_memba/epoch_20.pth digits.safetensors --as adapter
python tools/export.py work_dirs/digits_lora/epoch_20.pth digits.safetensors --as merged \\
    --config configs/demo/digits_lora.py
python tools/export.py work_dirs/digits_memba/epoch_20.pth digits.onnx --as onnx
"""

import argparse
import sys
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.errors import UserError
from memba_vision.runs.tool_options import RUN, add_options_argument

FORMATS = {
    'backbone': 'the weights of a backbone that was trained in full, with the official key names',
    'adapter': 'adapters and head, with a header that says what they are',
    'merged': 'the adapters folded into the weights of the backbone, and the head',
    'hf': "a folder in the format of Hugging Face's peft",
    'onnx': 'a graph for onnxruntime and others, adapters folded in where they can be',
    'torch-export': 'the same as torch.export saves it',
}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('checkpoint', metavar='RUN', help=RUN)
    parser.add_argument(
        'out',
        help='the file to write, *.safetensors, *.onnx or *.pt2, or for hf the folder',
    )
    parser.add_argument(
        '--as',
        dest='format',
        choices=FORMATS,
        default='backbone',
        help='; '.join(f'{name}: {text}' for name, text in FORMATS.items()),
    )
    parser.add_argument(
        '--config',
        help='the config of the training; graphs find it in run.json beside the checkpoint',
    )
    parser.add_argument('--backbone', metavar='NAME', help='with --config: as in the training')
    parser.add_argument('--peft', metavar='METHOD', help='with --config: as in the training')
    add_options_argument(parser, 'with --config: as in the training')
    return parser.parse_args()


def check_arguments(args: argparse.Namespace) -> None:
    """Raise a UserError for a name of another format, and for options without an effect."""
    from memba_vision.serving.deploy import SUFFIXES

    suffix = SUFFIXES.get(args.format, '.safetensors')
    if args.format != 'hf' and Path(args.out).suffix != suffix:
        raise UserError(f'{args.out}: the name must end in {suffix}')
    changes = {'--backbone': args.backbone, '--peft': args.peft, '--cfg-options': args.cfg_options}
    given = [name for name, value in {'--config': args.config, **changes}.items() if value]
    if given and args.format in ('backbone', 'adapter'):
        raise UserError(
            f'--as {args.format} writes what the checkpoint holds, whatever {" and ".join(given)} '
            'may say: leave that out'
        )
    if given and not args.config:
        raise UserError(f'{given[0]} goes with --config: give the config of the training')


def main(args: argparse.Namespace) -> None:
    """Export as the command line says."""
    from memba_vision.runs.checkpoints import find_checkpoint
    from memba_vision.runs.config import load_config
    from memba_vision.serving.deploy import SUFFIXES, deploy
    from memba_vision.serving.export import export_backbone, export_hf, export_merged
    from memba_vision.serving.predict import load_trained
    from memba_vision.zoo.adapter_files import write_adapter

    check_arguments(args)
    config = None
    if args.config:
        config = load_config(
            *(args.config, args.cfg_options, None, 'none', args.peft, args.backbone)
        )
    checkpoint = str(find_checkpoint(args.checkpoint))
    if args.format == 'backbone':
        print(export_backbone(checkpoint, args.out))
    elif args.format == 'adapter':
        print(f'{args.out}: {write_adapter(checkpoint, args.out)}')
    elif args.format in SUFFIXES:
        trained = load_trained(checkpoint, config)
        print(deploy(trained, args.out, args.format, lambda line: sys.stderr.write(f'{line}\n')))
    elif config is None:
        raise UserError(f'--as {args.format} needs the base weights: add --config CONFIG')
    else:
        export = export_merged if args.format == 'merged' else export_hf
        print(export(config, checkpoint, args.out))


if __name__ == '__main__':
    run_tool(parse_arguments, main)
