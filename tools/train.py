"""Adapt a model to a task, and report its test accuracy.

python tools/train.py configs/demo/digits_memba.py
python tools/train.py configs/demo/digits_memba.py --peft conv1d_tuning --epochs 5
"""

import argparse

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.engine.class_names import HELP, OPTION, RENAMED
from memba_vision.runs.tool_options import (
    add_config_arguments,
    add_epochs_argument,
    add_trial_arguments,
    seed_number,
)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('config', help='the config file')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='RUN',
        help='go on from this checkpoint, or the newest one of this folder or of the work dir',
    )
    parser.add_argument('--amp', action='store_true', help='train under bfloat16 autocast')
    parser.add_argument('--seed', type=seed_number, help="replaces the config's randomness.seed")
    add_epochs_argument(parser)
    add_config_arguments(parser)
    add_trial_arguments(parser)
    parser.add_argument(OPTION, action='store_true', help=HELP)
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Train as the command line says."""
    from memba_vision.runs.config import load_config, set_seed_and_precision
    from memba_vision.runs.training import resume_from, train
    from memba_vision.runs.trial import Trial

    config = load_config(
        *(args.config, args.cfg_options, args.work_dir, args.launcher, args.peft, args.backbone),
        trial=Trial(args.tried, args.validate),
    )
    set_seed_and_precision(config, args.seed, args.amp)
    if args.renamed_classes:
        config[RENAMED] = True
    if args.resume:
        resume_from(config, args.resume)
    train(config)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
