"""Collect the runs below a folder into a report: a page, tables, and a list of the runs.

python tools/report.py work_dirs/demo
python tools/report.py work_dirs/sweep --out paper --baseline lora_out_proj
python tools/report.py work_dirs/tuning --choose
python tools/report.py docs/results/mini_vtab.csv --baseline lora
python tools/report.py docs/results/mini_vtab.csv --ranks vim_small
"""

import argparse
from pathlib import Path

from memba_vision.command_line import prepare_process, run_tool, tool_parser
from memba_vision.errors import UserError


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'runs', help='the folder that holds the runs, or a list of them as reports write it'
    )
    parser.add_argument(
        '--out',
        metavar='DIR',
        help='where the report goes; without, to RUNS if that is a folder',
    )
    parser.add_argument(
        '--baseline',
        metavar='METHOD',
        help='what the others are compared with, which is printed too; without: lora, lora_in_proj '
        'or linear_probing, the first that was measured',
    )
    parser.add_argument(
        '--ranks',
        metavar='ARCH',
        help='print whether the methods come in the order in which they were published for an '
        'architecture, such as vim_small',
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
    if args.choose:
        choose(args)
        return
    from memba_vision.files import check_output_path
    from memba_vision.reports.accuracy_table import short_table
    from memba_vision.reports.difference_table import difference_table
    from memba_vision.reports.markdown import table_text
    from memba_vision.reports.run_list import RUN_LIST
    from memba_vision.reports.write import FIGURES, WRITERS, read_content, write_content

    if args.out:
        check_output_path(Path(args.out, RUN_LIST))
    content = read_content(args.runs, args.baseline)
    print(short_table(content.results), end='')
    for section in content.sections if args.baseline else ():
        if section.comparisons:
            table = difference_table(section.scores, section.baseline, section.comparisons)
            print(f'\n{table.name}\n\n{table_text(table)}', end='')
    if args.ranks:
        from memba_vision.reports.rank_table import rank_tables

        ranks = rank_tables([section.scores for section in content.sections], args.ranks)
        print(f'\n{ranks}', end='')
    for line in (*content.remark_lines(), *content.open_lines()):
        print(line)
    if args.out or Path(args.runs).is_dir():
        out = args.out or args.runs
        write_content(content, out)
        print(f'written to {out}: {", ".join(WRITERS)}, {FIGURES}/')


def choose(args: argparse.Namespace) -> None:
    """Choose settings, for which a model may be built."""
    if args.ranks or args.baseline:
        raise UserError('--choose makes no report: leave --ranks and --baseline out')
    prepare_process()
    from memba_vision.reports.choice import describe_choice, read_choice, write_choice

    choice = read_choice(args.runs)
    print(describe_choice(choice), end='')
    print(write_choice(choice, args.out or args.runs), end='')


if __name__ == '__main__':
    run_tool(parse_arguments, main, registers=False)
