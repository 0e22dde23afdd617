"""Files of pre-trained weights that a run loads, found before it is built."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlparse

from mmengine.registry import init_default_scope

from memba_vision.models.backbones.initialization import SCHEMES, initialize_backbone
from memba_vision.registry import MODELS
from memba_vision.runs.backbone import backbone_settings, weight_files
from memba_vision.weights import MissingWeights, resolve


def base_weights(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the places of the weights that the backbone of a config loads.

    Those that mmengine alone can read, such as ``torchvision://resnet50``, are left out.
    """
    places = weight_files(backbone_settings(config))
    return tuple(place for place in places if urlparse(place).scheme in SCHEMES)


def fetch_base_weights(config: Mapping[str, Any]) -> None:
    """Look for the weights that the backbone of a config loads, and download those at an address.

    Raises:
        MissingWeights: they are not there. The message is that of a training.
    """
    try:
        for place in base_weights(config):
            resolve(place)
    except MissingWeights:
        init_default_scope('mmpretrain')
        initialize_backbone(MODELS.build(backbone_settings(config)))  # it says their size
