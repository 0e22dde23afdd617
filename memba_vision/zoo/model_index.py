"""This package's models in mmpretrain's index, and the same as OpenMMLab's metafile."""

from collections.abc import Collection
from typing import Any

import yaml
from mmengine.config import Config
from mmpretrain.apis.model import ModelHub
from modelindex.models.Model import Model

from memba_vision.errors import UserError
from memba_vision.runs.base_models import architectures
from memba_vision.weights import licence_of
from memba_vision.zoo.families import FAMILIES, family_title
from memba_vision.zoo.methods import Published, all_methods
from memba_vision.zoo.models import CLASSIFICATION, model_config
from memba_vision.zoo.official import OFFICIAL


class IndexedModel(Model):
    """An entry of mmpretrain's index whose config is put together when it is asked for."""

    @property
    def config(self) -> Config:
        """The config of the model, its backbone with random weights."""
        config = model_config(self.name)
        backbone = config.model.backbone
        backbone = backbone.get('module', backbone)
        config.model.update(type='IndexedClassifier', official=backbone.get('init_cfg'))
        backbone.init_cfg = None
        return config

    @property
    def weights(self) -> str:
        """The official weights of the backbone.

        Raises:
            UserError: there are none. mmpretrain would leave the weights random.
        """
        official = self.config.model.official or {}
        if official.get('checkpoint') is None:
            raise UserError(
                f'{self.name} starts from random weights: give pretrained=False, or the path of a '
                'file'
            )
        return official['checkpoint']


def register_models() -> None:
    """Enter each architecture, alone and with each preset, as 'vim-small_lora', into the index."""
    for architecture in architectures():
        _register(architecture, None)
        plain = architecture.replace('-', '_')
        for method in all_methods():
            _register(f'{architecture}_{method.preset}', method.published.get(plain))


def _register(name: str, published: Published | None) -> None:
    # A result without metrics tells mmpretrain what the model is for.
    results = _results(published) if published else [{'Task': CLASSIFICATION}]
    ModelHub._models_dict[name] = IndexedModel(name=name, results=results)


def metafile() -> str:
    """The published models, as OpenMMLab's tools read them: the text of configs/metafile.yml."""
    backbones = {name: model_config(name).model.backbone for name in architectures()}
    bases = [
        {
            'Name': name,
            'In Collection': family_title(backbone.type),
            'Config': f'configs/_base_/models/{name}.py',
            'Weights': backbone.init_cfg.checkpoint,
            **_published(name),
        }
        for name, backbone in backbones.items()
    ]
    adapted = [
        {
            'Name': f'{arch.replace("_", "-")}_{method.preset}',
            'In Collection': family_title(backbones[arch.replace('_', '-')].type),
            'Metadata': {
                'Method': method.name,
                'Source': method.source,
                'Parameters': figures.thousands * 1000,
                'Preset': f'configs/_base_/peft/{method.preset}.py',
            },
            'Results': _results(figures),
        }
        for method in all_methods()
        for arch, figures in method.published.items()
    ]
    kinds = {backbone.type for backbone in backbones.values()}
    content = {'Collections': _collections(kinds), 'Models': bases + adapted}
    return yaml.safe_dump(content, sort_keys=False, width=100)


def _published(architecture: str) -> dict[str, Any]:
    """Return licence and accuracy of published weights."""
    official = OFFICIAL.get(architecture.replace('-', '_'))
    if official is None:
        return {}
    metrics = {'Top 1 Accuracy': official.top1}
    return {
        'Metadata': {'License': licence_of(official.url)},
        'Results': [{'Task': CLASSIFICATION, 'Dataset': 'ImageNet-1k', 'Metrics': metrics}],
    }


def _collections(kinds: Collection[str]) -> list[dict]:
    return [
        {
            'Name': family.title,
            'Metadata': {'Architecture': list(family.parts)},
            'Paper': {'Title': family.paper, 'URL': family.url},
        }
        for kind, family in FAMILIES.items()
        if kind in kinds
    ]


def _results(published: Published) -> list[dict]:
    metrics = {
        'Top 1 Accuracy': published.average,
        'Natural': published.natural,
        'Specialized': published.specialized,
        'Structured': published.structured,
    }
    return [{'Task': CLASSIFICATION, 'Dataset': 'VTAB-1k', 'Metrics': metrics}]
