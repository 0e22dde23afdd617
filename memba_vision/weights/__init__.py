"""Safe reading of files of weights, and strict loading.

Every file of weights that this project opens goes through :func:`read_checkpoint`.
"""

from memba_vision.weights.licences import announce, licence_of
from memba_vision.weights.loading import (
    check_finite,
    check_fit,
    fingerprint,
    load_strictly,
    load_through_hooks,
    rounded_fingerprint,
)
from memba_vision.weights.names import (
    ADAPTER_HEADER,
    BESIDE_THE_BACKBONE,
    HEADS,
    are_of_adapters,
    replace_in_names,
    under_names,
)
from memba_vision.weights.provenance import marked, source_of
from memba_vision.weights.reading import MissingWeights, read_checkpoint, resolve
from memba_vision.weights.unwrapping import (
    StoredWeights,
    find_weights,
    read_state_dict,
    read_weights,
)

__all__ = [
    'ADAPTER_HEADER',
    'BESIDE_THE_BACKBONE',
    'HEADS',
    'MissingWeights',
    'StoredWeights',
    'announce',
    'are_of_adapters',
    'check_finite',
    'check_fit',
    'find_weights',
    'fingerprint',
    'licence_of',
    'load_strictly',
    'load_through_hooks',
    'marked',
    'read_checkpoint',
    'read_state_dict',
    'read_weights',
    'replace_in_names',
    'resolve',
    'rounded_fingerprint',
    'source_of',
    'under_names',
]
