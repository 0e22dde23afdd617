"""Collect the runs below a folder, and print top-1 by method and task over all seeds.

python tools/report.py work_dirs/demo
"""

import argparse

from memba_vision.apis.cli import run_tool
from memba_vision.apis.report import collect, method_table


def main() -> None:
    """Report as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', help='the folder that holds the runs')
    print(method_table(collect(parser.parse_args().folder)), end='')


if __name__ == '__main__':
    run_tool(main)
