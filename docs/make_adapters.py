"""Train the adapters of the model zoo again, and write each as a file of its own.

python docs/make_adapters.py                                    # nine tasks, three methods
python docs/make_adapters.py --tasks letters --methods memba    # one
"""

import argparse
import subprocess
import sys
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser

DOCS = Path(__file__).parent
RESULTS = DOCS / 'results' / 'mini_vtab_2.csv'
METHODS = ('linear_probing', 'lora', 'memba')
SEED = 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    from memba_vision.datasets.tasks import MINI2_TASKS
    from memba_vision.runs.presets import preset_names

    parser = tool_parser(__doc__)
    tasks = dict(nargs='+', choices=[*MINI2_TASKS], default=[*MINI2_TASKS], metavar='TASK')
    parser.add_argument('--tasks', **tasks, help='tasks of mini-VTAB 2 (default: all nine)')
    methods = dict(nargs='+', choices=preset_names(), default=METHODS, metavar='METHOD')
    parser.add_argument('--methods', **methods, help=f'presets (default: {", ".join(METHODS)})')
    parser.add_argument('--out', type=Path, default='work_dirs/zoo', help='the folder of the files')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Train what is missing, write the files, and print them beside what was measured before."""
    from memba_vision.reports.collect import collect_runs
    from memba_vision.reports.text_tables import markdown_table
    from memba_vision.zoo.adapter_files import write_adapter

    runs = args.out / 'runs'
    _train(args, runs)
    known = {(run.task, run.method): run.result for run in collect_runs(RESULTS)[0]}
    rows = [('file', 'top-1 (%)', 'in the zoo (%)')]
    for run in collect_runs(runs)[0]:
        file = args.out / f'{run.task}_{run.method}.safetensors'
        write_adapter(run.result.checkpoint, file)
        before = known.get((run.task, run.method))
        rows.append((str(file), f'{run.result.value:.1f}', f'{before.value:.1f}' if before else ''))
    print(markdown_table(rows, numbers_from=1), end='')


def _train(args: argparse.Namespace, folder: Path) -> None:
    """Run the sweep; it goes on where it was, and ends this program where it fails."""
    configs = [f'demo/{task}_memba' for task in args.tasks]
    command = [sys.executable, '-m', 'memba_vision', 'sweep', *configs, '--seeds', str(SEED)]
    command += ['--methods', *args.methods, '--work-dir', str(folder)]
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == '__main__':
    run_tool(parse_arguments, main)
