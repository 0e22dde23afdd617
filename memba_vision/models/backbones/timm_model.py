"""Backbones of the timm library, by name."""

import difflib
import sys
from functools import cached_property
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.backbones.weight_files import check_pretrained
from memba_vision.models.modules.patches import Size, to_pair
from memba_vision.registry import MODELS
from memba_vision.weights import load_strictly, read_state_dict, under_names

#: Errors that timm and its models raise where a name or a setting does not fit.
_ERRORS = (RuntimeError, TypeError, ValueError, AssertionError, KeyError)


@MODELS.register_module()
class TimmModel(BaseModule):
    """A model of timm without its classifier: its features, pooled as timm pools them.

    Its parameters have timm's names behind ``model.``. Nothing is downloaded but what ``init_cfg``
    names.

    Args:
        model_name: of ``timm.list_models()``, such as 'vit_base_patch16_224'; what follows a dot
            names weights and is not needed.
        img_size: height and width of the images, or one number for both, for models that are
            built for one size. None stands for the model's own.
        in_channels: channels of the images.
        drop_path_rate: of the last block; it rises linearly to that.
        with_cp: recompute activations in the backward pass.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)`` loads a file under timm's names, which
            timm's own filter of the model converts where it is older or of another image size; all
            but the classifier must fit. It may have ``prefix`` and ``key`` (see
            :func:`memba_vision.weights.read_weights`).
        **settings: of timm's model, such as ``dynamic_img_size`` or ``global_pool``.

    Attributes:
        embed_dims: channels of the features.

    Raises:
        UserError: timm has no such model, a setting does not fit, or the weights do not.
    """

    def __init__(
        self,
        model_name: str,
        img_size: int | Size | None = None,
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(init_cfg)
        if img_size is not None:
            settings['img_size'] = to_pair(img_size, 'img_size')
        if drop_path_rate:
            settings['drop_path_rate'] = drop_path_rate
        self.model = _create(model_name, in_chans=in_channels, **settings)
        own_size = self.model.pretrained_cfg.get('input_size', (3, 224, 224))[-2:]
        self.img_size = settings.get('img_size') or tuple(own_size)
        self.embed_dims = getattr(self.model, 'head_hidden_size', self.model.num_features)
        if with_cp:
            self.model.set_grad_checkpointing(True)

    def init_weights(self) -> None:
        """Load the weights that ``init_cfg`` names; without it, keep timm's random ones."""
        self._is_init = True
        given = self.init_cfg or {}
        if given and (not isinstance(given, dict) or given.get('type') != 'Pretrained'):
            raise UserError(f"TimmModel: init_cfg is dict(type='Pretrained', …), got {given!r}")
        check_pretrained(given)
        if given.get('checkpoint') is None:
            return
        source = str(given['checkpoint'])
        tensors = read_state_dict(source, given.get('prefix'), given.get('key'))
        tensors = under_names(tensors, self.model.state_dict(), source)
        load_strictly(self.model, self._filtered(tensors, source), source, self._classifiers())

    def _filtered(self, tensors: dict[str, torch.Tensor], source: str) -> dict[str, torch.Tensor]:
        """Return weights as the model's own filter in timm converts them."""
        convert = getattr(sys.modules[type(self.model).__module__], 'checkpoint_filter_fn', None)
        try:
            return convert(tensors, self.model) if convert else tensors
        except Exception as error:  # of weights of another model timm raises anything
            reason = ' '.join(str(error).split())
            raise UserError(
                f'{source} does not fit {type(self.model).__name__} of timm: '
                f'{type(error).__name__}: {reason}'
            ) from error

    def _classifiers(self) -> tuple[str, ...]:
        names = self.model.pretrained_cfg.get('classifier') or ()
        return tuple(f'{name}.' for name in ([names] if isinstance(names, str) else names))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter, for learning rates that decay with it.

        Args:
            param_name: its name in the whole model.
            prefix: the backbone's own name in the model, with a dot behind it.

        Returns:
            The number of its group as timm counts them from the images on, the highest for whatever
            follows the backbone; and the number of depths.
        """
        depths = self._depths
        most = max(depths.values()) + 1
        if not param_name.startswith(prefix):
            return most, most + 1
        name = param_name.removeprefix(prefix).removeprefix('model.')
        layer = name.rpartition('.')[0]
        # Parameters of an adapter are as deep as the layer that it is around.
        inside = [depth for own, depth in depths.items() if own.rpartition('.')[0] in _above(layer)]
        return depths.get(name, max(inside, default=most)), most + 1

    @cached_property
    def _depths(self) -> dict[str, int]:
        from timm.models import group_parameters

        return group_parameters(self.model, self.model.group_matcher(coarse=False), reverse=True)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the features of (batch, in_channels, height, width): a tuple of (batch, dims)."""
        return (self.model(images),)


def _above(name: str) -> set[str]:
    parts = name.split('.')
    return {'.'.join(parts[:number]) for number in range(1, len(parts) + 1)}


def _create(model_name: str, **settings: Any) -> nn.Module:
    import timm

    if not timm.is_model(model_name):
        near = difflib.get_close_matches(model_name, timm.list_models(), 3)
        meant = f'; did you mean {" or ".join(near)}?' if near else ''
        raise UserError(f'TimmModel: timm has no model {model_name!r}{meant}')
    try:
        return timm.create_model(model_name, pretrained=False, num_classes=0, **settings)
    except _ERRORS as error:
        reason = ' '.join(str(error).split())
        raise UserError(f'TimmModel: {model_name}: {type(error).__name__}: {reason}') from error
