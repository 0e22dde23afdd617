"""Adapt vision Mamba models with few trained parameters, as a plugin for mmpretrain.

Importing the package enters its classes into mmpretrain's registries and its models into
mmpretrain's index (``import memba_vision.timm``: into timm's). Configs anywhere can inherit from
those that come with it.
"""

from memba_vision.discovery import lazy_attributes
from memba_vision.errors import UserError
from memba_vision.package_data import is_tool_process
from memba_vision.registration import register_everything

__version__ = '0.1.0'

# Attributes that are imported on first use.
_FUNCTIONS = {
    'AdapterBank': 'memba_vision.serving.bank',
    'Inferencer': 'memba_vision.serving.inference',
    'adapt': 'memba_vision.photos.adapt',
    'deploy': 'memba_vision.serving.deploy',
    'extract_features': 'memba_vision.serving.inference',
    'fold': 'memba_vision.models.peft.folding',
    'from_pretrained': 'memba_vision.serving.shared',
    'get_model': 'memba_vision.zoo.models',
    'list_models': 'memba_vision.zoo.models',
    'load_trained': 'memba_vision.serving.predict',
    'push_to_hub': 'memba_vision.reports.hub',
    'save_pretrained': 'memba_vision.reports.hub',
}
__all__ = ['UserError', 'datasets', 'engine', 'models', *_FUNCTIONS]

__getattr__ = lazy_attributes(__name__, _FUNCTIONS)

# A tool reads its arguments first, without torch; command_line.run_tool does this then.
if not is_tool_process():
    register_everything()
