"""Files with weights of Vim: the names in them, the variants of Vim, and loading."""

import logging
import re
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.backbones.weight_files import WeightFiles
from memba_vision.weights import StoredWeights

#: Names in every file of weights of Vim, by which a prefix of all names is found.
ANCHORS = ('cls_token', 'pos_embed', 'patch_embed.proj.weight', 'norm_f.weight')
# Patterns that the authors' name of a model matches if this Vim computes it, and the reason
# why it does not if one is absent.
_VARIANT = {
    'bimambav2': 'its blocks are not those of bimamba_type "v2"',
    'midclstok|middle_cls_token': 'its class token, if any, is not in the middle',
    'div2': 'its directions are added, not averaged',
    '^(?!.*rope)': 'it has rotary position embeddings',
}


def check_variant(stored: StoredWeights) -> None:
    """Compare the name that the authors' script gave the model with the variant that this Vim is.

    Their variants have the same names and shapes of weights.

    Raises:
        UserError: it is another variant.
    """
    name = stored.model_name or ''
    wrong = [meaning for part, meaning in _VARIANT.items() if not re.search(part, name)]
    if 'bimamba' in name and wrong:
        raise UserError(
            f'{stored.source} is of {name}: {", and ".join(wrong)}, so this Vim would make '
            'something else of the same weights. Take a file whose name has bimambav2, midclstok '
            'and div2; where the name is not to be trusted, "tools/weights.py convert '
            '--any-variant" leaves it out'
        )


class VimFiles(WeightFiles):
    """The files of Vim. A position embedding of another size is interpolated."""

    anchors = ANCHORS

    def check(self, stored: StoredWeights) -> None:
        """See :func:`check_variant`."""
        check_variant(stored)

    def fit(
        self, backbone: nn.Module, tensors: Mapping[str, torch.Tensor], source: str
    ) -> dict[str, torch.Tensor]:
        """Interpolate the position embedding to the image size of ``backbone``.

        Raises:
            UserError: the file is of another arch.
        """
        fitting = super().fit(backbone, tensors, source)
        positions = fitting.get('pos_embed')
        if positions is not None and positions.ndim == 3:
            fitting['pos_embed'] = backbone._fitting(positions, source)
        return fitting

    def load(self, backbone: nn.Module, stored: StoredWeights) -> None:
        """Load strictly, and warn where the name of the model says another stride."""
        named = re.search(r'_stride(\d+)_', stored.model_name or '')
        stride = backbone.patch_embed.stride[0]
        if named and int(named[1]) != stride:
            print_log(
                f'{stored.source} is of {stored.model_name}, with a stride of {named[1]}; this Vim '
                f'has stride={stride}',
                logger='current',
                level=logging.WARNING,
            )
        try:
            super().load(backbone, stored)
        except UserError as error:
            if not stored.model_name:
                raise
            raise UserError(f'{error} (its training named it {stored.model_name})') from error


FILES = VimFiles()
