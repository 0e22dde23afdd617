"""Collect the runs below a folder into a report: a page, tables, and a list of the runs.

python tools/report.py work_dirs/demo
python tools/report.py work_dirs/sweep --out paper --baseline lora_out_proj
python tools/report.py work_dirs/tuning --choose
"""

import argparse

from memba_vision.command_line import run_tool, tool_parser


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('folder', help='the folder that holds the runs')
    parser.add_argument('--out', metavar='DIR', help='where the report goes; without, to FOLDER')
    parser.add_argument(
        '--baseline',
        metavar='METHOD',
        help='what the others are compared with; without: lora, lora_in_proj or linear_probing, '
        'the first that was measured',
    )
    parser.add_argument(
        '--choose',
        action='store_true',
        help='choose settings of each method by the runs of a sweep with --grid and --validate, '
        'and write them in place of a report',
    )
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Report as the command line says."""
    from memba_vision.reports.accuracy_table import accuracy_table
    from memba_vision.reports.choice import describe_choice, read_choice, write_choice
    from memba_vision.reports.content import describe_run
    from memba_vision.reports.write import WRITERS, write_report

    out = args.out or args.folder
    if args.choose:
        choice = read_choice(args.folder)
        print(describe_choice(choice), end='')
        print(write_choice(choice, out), end='')
        return
    content = write_report(args.folder, out, args.baseline)
    print(accuracy_table(content.results), end='')
    for run in content.open_runs:
        print(f'not finished: {describe_run(run)}')
    print(f'written to {out}: {", ".join(WRITERS)}')


if __name__ == '__main__':
    run_tool(parse_arguments, main)
