"""Measure test accuracies, and print them as one table.

python tools/test.py configs/demo/digits_memba.py
python tools/test.py configs/vtab1k/*_memba.py --out table.md
"""

import argparse
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.engine.class_names import HELP, OPTION, RENAMED
from memba_vision.errors import UserError
from memba_vision.runs.tool_options import add_config_arguments

CHECKPOINTS = ('.pth', '.pt', '.safetensors')


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG [RUN]',
        help='a config and maybe its run, a folder or a checkpoint, or several configs; without a '
        'run, the newest checkpoint of each work dir is tested',
    )
    parser.add_argument('--out', metavar='FILE', help='write the table to FILE.md, .csv or .json')
    add_config_arguments(parser)
    parser.add_argument(OPTION, action='store_true', help=HELP)
    return parser.parse_args()


def split_arguments(arguments: list[str]) -> tuple[list[str], str | None]:
    """Configs, and the checkpoint that may follow a single one."""
    others = [name for name in arguments if Path(name).suffix in CHECKPOINTS or Path(name).is_dir()]
    configs = [name for name in arguments if name not in others]
    if not configs or len(others) > 1 or (others and len(configs) > 1):
        raise UserError('expected CONFIG [RUN], or several configs without a checkpoint')
    return configs, others[0] if others else None


def main(args: argparse.Namespace) -> None:
    """Test as the command line says."""
    from memba_vision.reports.result_tables import as_markdown, check_table_path, write_table
    from memba_vision.runs.checkpoints import find_checkpoint
    from memba_vision.runs.config import load_config
    from memba_vision.runs.testing import test

    configs, checkpoint = split_arguments(args.configs)
    if args.out:
        check_table_path(args.out)
    if args.work_dir and len(configs) > 1:
        raise UserError('--work-dir goes with a single config')
    results = []
    for path in configs:
        config = load_config(
            *(path, args.cfg_options, args.work_dir, args.launcher, args.peft, args.backbone)
        )
        if args.renamed_classes:
            config[RENAMED] = True
        results.append(test(config, checkpoint and str(find_checkpoint(checkpoint))))
    print(as_markdown(results), end='')
    if args.out:
        write_table(args.out, results)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
