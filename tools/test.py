"""Measure test accuracies, and print them as one table.

python tools/test.py configs/demo/digits_memba.py
python tools/test.py work_dirs/digits_memba
python tools/test.py configs/demo/digits_memba.py digits.safetensors
python tools/test.py configs/vtab1k/*_memba.py --out table.md
"""

import argparse
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.engine.class_names import HELP, OPTION, RENAMED
from memba_vision.errors import UserError
from memba_vision.runs.tool_options import add_config_arguments

CONFIGS = ('.py', '.yml', '.yaml', '.json', '')  # none: a name of one in the package


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'configs',
        nargs='+',
        metavar='CONFIG [RUN]',
        help='a config and maybe its run (a folder, a checkpoint or an adapter file), or several '
        'configs; without a run, the newest checkpoint of each work dir is tested. A run alone has '
        'the config in its folder',
    )
    parser.add_argument('--out', metavar='FILE', help='write the table to FILE.md, .csv or .json')
    add_config_arguments(parser)
    parser.add_argument(OPTION, action='store_true', help=HELP)
    return parser.parse_args()


def split_arguments(arguments: list[str]) -> tuple[list[str], str | None]:
    """Configs, and the run that may follow a single one or, with a config in it, stand alone."""
    others = [a for a in arguments if Path(a).suffix not in CONFIGS or Path(a).is_dir()]
    configs = [name for name in arguments if name not in others]
    if not configs and len(others) == 1:
        return [config_of(others[0])], others[0]
    if not configs or len(others) > 1 or (others and len(configs) > 1):
        raise UserError(
            'expected CONFIG [RUN], or several configs without a checkpoint, found '
            f'{len(configs)} config(s) and {len(others)} run(s): {", ".join(others)}'
        )
    return configs, others[0] if others else None


def config_of(run: str) -> str:
    """The config that a training left in the folder of its run."""
    from memba_vision.runs.checkpoints import find_checkpoint
    from memba_vision.runs.record import folder_of_run

    folder = folder_of_run(find_checkpoint(run).parent)
    found = sorted(folder.glob('*.py'))
    if len(found) != 1:
        raise UserError(
            f'expected CONFIG [RUN], or several configs: {folder} has {len(found)} configs in the '
            'place of one, so name it before the run'
        )
    return str(found[0])


def place_of(config: str) -> str | None:
    """The folder of the run that left a config in it, wherever it was trained; None for others."""
    from memba_vision.runs.record import RECORD_FILE

    folder = Path(config).parent
    return str(folder) if (folder / RECORD_FILE).is_file() else None


def main(args: argparse.Namespace) -> None:
    """Test as the command line says."""
    from memba_vision.files import check_output_file
    from memba_vision.package_data import find_config
    from memba_vision.reports.result_tables import as_markdown, check_table_path, write_table
    from memba_vision.runs.checkpoints import find_checkpoint
    from memba_vision.runs.config import load_config
    from memba_vision.runs.testing import test

    configs, checkpoint = split_arguments(args.configs)
    if args.out:
        check_table_path(args.out)
        check_output_file(args.out)
    if args.work_dir and len(configs) > 1:
        for path in configs:
            find_config(path)  # it may be a run, misspelt
        found = ', '.join(configs)
        raise UserError(f'--work-dir goes with a single config, found {found}')
    results = []
    for path in configs:
        work_dir = args.work_dir or (None if 'work_dir' in args.cfg_options else place_of(path))
        config = load_config(
            *(path, args.cfg_options, work_dir, args.launcher, args.peft, args.backbone)
        )
        if args.renamed_classes:
            config[RENAMED] = True
        results.append(test(config, checkpoint and str(find_checkpoint(checkpoint))))
    print(as_markdown(results), end='')
    if args.out:
        write_table(args.out, results)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
