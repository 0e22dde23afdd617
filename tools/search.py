"""Search for better settings or adapters of a config, on the validation split.

python tools/search.py configs/search/memba_small.py --config configs/demo/digits_memba.py
python tools/search.py configs/search/hybrid.py --config configs/demo/digits_memba.py --trials 20
"""

import argparse
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.errors import UserError
from memba_vision.runs.tool_options import add_config_arguments, not_negative, positive
from memba_vision.search import PRUNERS, SAMPLERS


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('space', help='what may change, a file such as those of configs/search')
    parser.add_argument('--config', required=True, help='the config to start from')
    parser.add_argument('--trials', type=positive, default=20, help='of each step (default: 20)')
    parser.add_argument(
        '--epochs',
        type=positive,
        metavar='N',
        help="of a trial, whose whole schedule follows; without, the config's own",
    )
    parser.add_argument('--pruner', choices=PRUNERS, default='median', help='ends bad trials early')
    parser.add_argument(
        '--sampler', choices=SAMPLERS, default='tpe', help='draws what a trial tries (default: tpe)'
    )
    parser.add_argument(
        '--seed', type=not_negative, default=0, help='of what is drawn, one per worker'
    )
    parser.add_argument(
        '--storage', metavar='URL', help='an Optuna storage; without, SQLite in the work dir'
    )
    add_config_arguments(parser)
    return parser.parse_args()


def check_arguments(args: argparse.Namespace) -> None:
    """Raise a UserError for arguments that a search cannot take."""
    if args.launcher != 'none':
        raise UserError(
            '--launcher: a trial is one process; to use more devices, start the same command once '
            'per device, with a --storage that they share'
        )
    if any(key.removesuffix('+') == 'work_dir' for key in args.cfg_options):
        raise UserError('--cfg-options: work_dir is what --work-dir says: give that in its place')


def main(args: argparse.Namespace) -> None:
    """Search as the command line says."""
    from memba_vision.files import check_output_path
    from memba_vision.leases import no_locks, object_store
    from memba_vision.runs.config import load_config, run_name
    from memba_vision.search.outcome import BEST, write_outcome
    from memba_vision.search.search import Search, search
    from memba_vision.search.space import read_space

    check_arguments(args)
    config = load_config(*(args.config, args.cfg_options, None, 'none', args.peft, args.backbone))
    name = f'{run_name(config)}_{Path(args.space).stem}'
    folder = Path(args.work_dir or f'work_dirs/search_{name}')
    check_output_path(folder / BEST)
    folder.mkdir(parents=True, exist_ok=True)
    if mount := object_store(folder):
        print(no_locks(folder, mount), flush=True)
    task = Search(
        config=config,
        space=read_space(args.space),
        folder=folder,
        name=name,
        storage=args.storage or folder / 'search.db',
        trials=args.trials,
        epochs=args.epochs,
        pruner=args.pruner,
        sampler=args.sampler,
        seed=args.seed,
        tell=lambda line: print(line, flush=True),
    )
    try:
        trials = search(task)
    except KeyboardInterrupt as end:
        raise KeyboardInterrupt(
            'interrupted: finished trials are kept, and the same command goes on'
        ) from end
    print(write_outcome(task, trials), end='')
    print(f'train and test the best: python tools/train.py {folder / BEST}')


if __name__ == '__main__':
    run_tool(parse_arguments, main)
