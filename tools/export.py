"""Write the backbone of a training checkpoint as safetensors, under the official key names.

python tools/export.py work_dirs/vim-mini_shapes/iter_3000.pth vim-mini.safetensors
"""

import argparse
from pathlib import Path

from safetensors.torch import save

from memba_vision.apis.cli import run_tool
from memba_vision.engine.file_backend import write_atomically
from memba_vision.errors import UserError
from memba_vision.weights import read_state_dict


def main() -> None:
    """Export as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='a checkpoint that tools/train.py wrote')
    parser.add_argument('out', help='the file to write, *.safetensors')
    args = parser.parse_args()
    if Path(args.out).suffix != '.safetensors':
        raise UserError(f'{args.out}: the name must end in .safetensors')
    weights = read_state_dict(args.checkpoint, prefix='backbone.')
    if not any(name.startswith('layers.') for name in weights):
        raise UserError(
            f'{args.checkpoint} holds no whole backbone (an adapter checkpoint does not): give '
            'one that was trained in full'
        )
    write_atomically(args.out, save({k: v.contiguous() for k, v in weights.items()}))
    print(
        f'{args.out}: {len(weights)} tensors, {sum(v.numel() for v in weights.values()):,} values'
    )


if __name__ == '__main__':
    run_tool(main)
