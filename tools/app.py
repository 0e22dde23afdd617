"""Look into models in the browser: drop an image, see its classes and the membrane's maps.

python tools/app.py                                        # pre-trained backbone, nothing trained
python tools/app.py work_dirs/digits_memba work_dirs/sprites_location_memba
python tools/app.py digits.safetensors --config configs/demo/digits_memba.py
"""

import argparse
from pathlib import Path

from memba_vision.command_line import run_tool, tool_parser
from memba_vision.runs.tool_options import RUN, port_number

DEMO = Path(__file__).parents[1] / 'configs' / 'demo' / 'digits_memba.py'


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'sources',
        nargs='*',
        metavar='RUN',
        help=f'of one backbone, each {RUN}',
    )
    parser.add_argument(
        '--config', help="says which backbone; without, the first run's own, or the demo's"
    )
    parser.add_argument('--host', default='127.0.0.1', help='0.0.0.0 lets other machines in')
    parser.add_argument('--port', type=port_number, help='without, the first free one from 7860')
    parser.add_argument('--device', help='cpu or cuda; without, a GPU where there is one')
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    from memba_vision.runs.config import load_config
    from memba_vision.serving.app import build_app, config_of, load_subjects, serve

    config = None if args.config else config_of(args.sources)
    config = config or load_config(args.config or str(DEMO), {}, None)
    app = build_app(load_subjects(args.sources, config, args.device))
    print(f'Open {serve(app, args.host, args.port)} in a browser; Ctrl-C ends it.', flush=True)
    app.block_thread()


if __name__ == '__main__':
    run_tool(parse_arguments, main)
