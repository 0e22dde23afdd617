"""Write what this version computes, for later ones to be compared with: python record.py FOLDER.

Run by hand, in a clean checkout of the version that is to be recorded.
"""

import sys
from pathlib import Path

from numbers_of_versions import features_and_gradients, fill, make_adapted, make_base
from safetensors.torch import save_file

from memba_vision.runs.presets import preset_names


def main() -> None:
    """Record the adapters' state dicts, features and gradients of every method."""
    folder = Path(sys.argv[1])
    states, results = {}, {}
    for preset in ['base', *preset_names()]:
        model = make_base() if preset == 'base' else make_adapted(preset)
        if preset != 'base':
            fill(model)
            states |= {f'{preset}/{name}': t.clone() for name, t in model.state_dict().items()}
        found = features_and_gradients(model)
        results |= {f'{preset}/{name}': value.contiguous() for name, value in found.items()}
    save_file(states, folder / 'states.safetensors')
    save_file(results, folder / 'results.safetensors')


if __name__ == '__main__':
    main()
