"""Collect the runs below a folder into report.md, .csv, .tex and .html.

python tools/report.py work_dirs/demo
python tools/report.py work_dirs/sweep --out paper --baseline lora_out_proj
"""

import argparse

from memba_vision.apis.cli import run_tool
from memba_vision.apis.report import method_table
from memba_vision.reports.content import describe_run
from memba_vision.reports.write import write_report


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', help='the folder that holds the runs')
    parser.add_argument('--out', metavar='DIR', help='where the report goes; without, to FOLDER')
    parser.add_argument(
        '--baseline',
        metavar='METHOD',
        help='what the others are compared with; without: lora, lora_in_proj or linear_probing, '
        'the first that was measured',
    )
    return parser.parse_args()


def main() -> None:
    """Report as the command line says."""
    args = parse_arguments()
    out = args.out or args.folder
    content = write_report(args.folder, out, args.baseline)
    print(method_table([run.result for run in content.runs if run.result]), end='')
    for run in content.open_runs:
        print(f'not finished: {describe_run(run)}')
    print(f'written: {out}/report.html, .md, .csv, .tex')


if __name__ == '__main__':
    run_tool(main)
