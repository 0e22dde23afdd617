"""Train every method on every task with every seed, and print the table of results.

python tools/sweep.py --suite demo --methods memba lora --seeds 0 1 --work-dir work_dirs/sweep
python tools/sweep.py configs/demo/digits_*.py --seeds 0 1 2 --work-dir work_dirs/demo
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.datasets.benchmarks import suites
from memba_vision.errors import DiskFull, ExitStatus, UserError
from memba_vision.runs.tool_options import add_epochs_argument, not_negative, positive, seed_number
from memba_vision.sweeps.executors import EXECUTORS
from memba_vision.sweeps.executors.local import are_forked, local_slots, one_slot

if TYPE_CHECKING:
    from memba_vision.sweeps.executors import Executor
    from memba_vision.sweeps.jobs import Job, Options
    from memba_vision.sweeps.loop import Sweep


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_grid_arguments(parser.add_argument_group('what to run'))
    add_policy_arguments(parser.add_argument_group('how to run it'))
    for name, executor in EXECUTORS.items():
        executor.add_arguments(parser.add_argument_group(f'--executor {name}: {executor.help}'))
    return parser.parse_args()


def add_grid_arguments(group: argparse._ArgumentGroup) -> None:
    """Add options for tasks, methods and seeds."""
    group.add_argument('configs', nargs='*', metavar='CONFIG', help='configs, in place of --suite')
    group.add_argument('--suite', choices=list(suites()), help='all tasks of a suite')
    group.add_argument(
        '--methods',
        nargs='+',
        default=[],
        metavar='METHOD',
        help='presets of configs/_base_/peft, or files like those; "all": every preset '
        "that the backbone can take (default: the configs' own)",
    )
    group.add_argument(
        '--backbones',
        nargs='+',
        default=[],
        metavar='NAME',
        help="models of configs/_base_/models, or files like those (default: the configs' own)",
    )
    group.add_argument('--seeds', nargs='+', type=seed_number, help='seeds (default: 0)')
    group.add_argument(
        '--validate',
        action='store_true',
        help='train on train800, and measure on val200 in place of the test',
    )
    group.add_argument(
        '--grid',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=A,B,…',
        help='settings that every method tries, one run for each; several multiply. scale=A,B: '
        'those of every adapter that has one',
    )
    group.add_argument('--work-dir', default='work_dirs/sweep', help='the folder of the sweep')
    group.add_argument('--amp', action='store_true', help='train under bfloat16 autocast')
    group.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='settings that replace those of the configs, in every run',
    )
    add_epochs_argument(group)


def add_policy_arguments(group: argparse._ArgumentGroup) -> None:
    """Add options for the execution of runs, and the treatment of those that do not finish."""
    group.add_argument(
        '--write-configs',
        metavar='DIR',
        help='write a config for every task of --suite, method and backbone, and run nothing',
    )
    group.add_argument('--plan', action='store_true', help='say what it will take, and run nothing')
    group.add_argument('--plan-to', help=argparse.SUPPRESS)  # where a node leaves it
    group.add_argument(
        '--workers',
        nargs='+',
        type=positive,
        default=[],
        help='runs at a time that --plan reckons with',
    )
    group.add_argument('--executor', choices=list(EXECUTORS), default='local')
    group.add_argument(
        '--gpus-per-run',
        type=not_negative,
        help='GPUs that one run trains on (default: 1; 0: the CPU)',
    )
    group.add_argument(
        '--cpus-per-run', type=positive, default=4, help='cores of a run on a cluster (default: 4)'
    )
    group.add_argument(
        '--retries',
        type=not_negative,
        default=2,
        help='how often a run that was killed or lost is started again, not counted where it had '
        'saved more than before (default: 2)',
    )
    group.add_argument(
        '--retry-failed', action='store_true', help='start those again that failed before'
    )


def jobs_of(args: argparse.Namespace, options: Options) -> list[Job]:
    """Return the runs that the command line asks for."""
    from memba_vision.sweeps.grid import read_grid
    from memba_vision.sweeps.jobs import make_jobs
    from memba_vision.sweeps.suites import suite_configs

    if bool(args.configs) == bool(args.suite):
        raise UserError('give either --suite or configs')
    configs = args.configs or suite_configs(args.suite)
    return make_jobs(
        *(configs, args.methods, args.seeds or [0], Path(args.work_dir), options, args.backbones),
        read_grid(args.grid),
    )


def write_configs(args: argparse.Namespace) -> None:
    """Write the configs that the command line asks for, and print their paths."""
    from memba_vision.sweeps.suites import write_suite_configs

    if not args.suite:
        raise UserError('--write-configs goes with --suite')
    others = {
        'CONFIG': args.configs,
        '--seeds': args.seeds,
        '--grid': args.grid,
        '--validate': args.validate,
    }
    others |= {
        '--amp': args.amp,
        '--epochs or --cfg-options': args.cfg_options,
        '--plan': args.plan,
    }
    if given := [name for name, value in others.items() if value]:
        raise UserError(
            'the files of --write-configs say what --suite, --methods and --backbones do, and '
            f'nothing of {", ".join(given)}: leave that out'
        )
    methods, backbones = args.methods or ['memba'], args.backbones or [None]
    for path in write_suite_configs(args.suite, methods, backbones, Path(args.write_configs)):
        print(path)


def plan(args: argparse.Namespace, jobs: list[Job]) -> str:
    """Return the forecast of what the runs will take, measured where they will be."""
    from memba_vision.sweeps.calibration import measure_start
    from memba_vision.sweeps.plan import make_plan
    from memba_vision.sweeps.plan_elsewhere import plan_elsewhere, write_plan

    if args.executor != 'local':
        make = partial(EXECUTORS[args.executor], args)
        return plan_elsewhere(make, sys.argv[1:], Path(args.work_dir))
    # Forked runs share what one process has imported.
    start = 0.0 if are_forked(args) and not args.plan_to else measure_start()
    if not args.plan_to:
        return make_plan(jobs, local_slots(args), args.workers, start)
    write_plan(Path(args.plan_to), make_plan(jobs, [one_slot(args)], args.workers, start))
    return ''


def run_all(args: argparse.Namespace, options: Options, executor: Executor) -> Sweep:
    """List the runs that the command line asks for, and bring each to its end."""
    from memba_vision.leases import no_locks, object_store
    from memba_vision.sweeps.console import open_console
    from memba_vision.sweeps.folder import enter, mark_waiting
    from memba_vision.sweeps.jobs import ALL_METHODS, left_out
    from memba_vision.sweeps.loop import Policy, Sweep
    from memba_vision.sweeps.weights import fetch_weights

    folder = Path(args.work_dir)
    jobs = jobs_of(args, options)
    fetch_weights(jobs)
    enter(folder, jobs, options)
    # Beside the sweep, whose first run need not wait for it.
    threading.Thread(target=mark_waiting, args=[jobs], daemon=True).start()
    console = open_console()
    if args.methods == [ALL_METHODS] and (names := left_out(jobs)):
        console.say(f'left out, as the backbone lacks their places: {", ".join(names)}')
    if mount := object_store(folder):
        console.say(no_locks(folder, mount))
    sweep = Sweep(jobs, executor, console, Policy(args.retries, args.retry_failed))
    try:
        sweep.run()
    except KeyboardInterrupt:
        print('the runs have saved what they had: the same command goes on', file=sys.stderr)
        raise
    return sweep


def main(args: argparse.Namespace) -> None:
    """Sweep as the command line says."""
    from memba_vision.sweeps.folder import has_finished
    from memba_vision.sweeps.jobs import Options
    from memba_vision.sweeps.summary import describe_unfinished, fitting_table

    if args.write_configs:
        write_configs(args)
        return
    options = Options(tuple(args.cfg_options), args.amp, args.validate)
    if args.plan:
        print(plan(args, jobs_of(args, options)), end='')
        return
    folder = Path(args.work_dir)
    with closing(EXECUTORS[args.executor](args, folder)) as executor:
        if not has_finished(folder):
            executor.warm_up()
        sweep = run_all(args, options, executor)
    rows = list(sweep.rows.values())
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    print(fitting_table(folder, rows, width), end='')
    unfinished = describe_unfinished(rows)
    if sweep.full_disk:
        raise DiskFull(sweep.full_disk)
    if unfinished:
        print(unfinished, file=sys.stderr)
        sys.exit(ExitStatus.FAILED)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
