"""Measure speed and memory against peers and floors: ratios in one run, side by side.

python tools/benchmark.py --threads 2 --out benchmarks.md
"""

import argparse
import contextlib
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarking.parts import PARTS

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.files import write_atomically
from memba_vision.runs.tool_options import positive, positive_number


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--parts',
        nargs='+',
        default=list(PARTS),
        metavar='PART',
        help=f'what to measure, of {", ".join(PARTS)}; everything by default',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        default=[],
        metavar='WORD',
        help='with --parts peers: measure these alone, as in --only vit vim-memba bfloat16 step; '
        'an unknown word shows all',
    )
    parser.add_argument('--device', default='auto', choices=['auto', 'cpu', 'cuda'])
    parser.add_argument(
        '--threads', type=positive, help="threads on the CPU; torch's number by default"
    )
    parser.add_argument(
        '--seconds',
        type=positive_number,
        default=60,
        help='about how long to measure each part (60); slow peers get three repeats in any case',
    )
    parser.add_argument(
        '--depth', type=positive, help='blocks in membrane and growth: 6 by default, on a GPU 24'
    )
    parser.add_argument(
        '--fresh-kernels',
        action='store_true',
        help='compile the kernels again, so that first calls show what that takes',
    )
    parser.add_argument(
        '--quick', action='store_true', help='tiny shapes, to see that everything runs'
    )
    parser.add_argument('--out', metavar='FILE', help='write the report to FILE.md or .json')
    return parser.parse_args()


@contextlib.contextmanager
def empty_kernel_caches() -> Iterator[None]:
    """Let numba and Triton keep what they compile in a folder of its own, for a while."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ['NUMBA_CACHE_DIR'] = os.environ['TRITON_CACHE_DIR'] = folder
        yield


def main(args: argparse.Namespace) -> None:
    """Measure as the command line says."""
    import torch
    from benchmarking.machine import as_markdown, describe_machine
    from benchmarking.report import check_request, report, run_parts
    from benchmarking.setting import choose_setting

    started = time.perf_counter()
    check_request(args.parts, args.out, args.only)
    setting = choose_setting(args.device, args.quick, args.seconds, args.depth)
    setting = replace(setting, only=frozenset(args.only))
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    command = shlex.join(['python', 'tools/benchmark.py', *sys.argv[1:]])
    facts = describe_machine(setting.device)
    print(as_markdown(facts, command), flush=True)
    sections = []
    with empty_kernel_caches() if args.fresh_kernels else contextlib.nullcontext():
        for section in run_parts(args.parts, setting):
            print(section.as_markdown(), flush=True)
            sections.append(section)
    if args.out:
        write_atomically(args.out, report(args.out, facts, command, sections))
    print(f'{time.perf_counter() - started:.0f} s in all')


if __name__ == '__main__':
    run_tool(parse_arguments, main)
