"""Official files of weights of each new family, as people have them."""

import pytest
import test_mamba_reg as reg
import test_mamba_vision as vision
import torch
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from official_like import assert_holds, load, write

from memba_vision.errors import UserError
from memba_vision.models import MambaReg, MambaVision

#: A test module with its weights and models, the width of the features, and the file's key.
FAMILIES = {'MambaReg': (reg, 24, 'model'), 'MambaVision': (vision, 32, 'state_dict')}
LOST = [
    *(('MambaReg', name) for name in ('neck.weight', 'pos_embed_cls', 'layers.1.mixer.A_b_log')),
    *(('MambaVision', name) for name in ('norm.running_var', 'levels.2.blocks.1.mixer.A_log')),
]
each_family = pytest.mark.parametrize('family', FAMILIES)


@pytest.mark.parametrize('prefix', ['', 'module.', 'backbone.', 'module.model.'])
@pytest.mark.parametrize('key', ['model', 'state_dict', ''])
@each_family
def test_official_files_load_strictly(tmp_path, family, key, prefix):
    module, width, _ = FAMILIES[family]
    weights = module.make_weights(seed=5)
    path = write(tmp_path / 'official.pth', weights, width, key, prefix)
    assert_holds(load(module.make_model, path), weights)


@pytest.mark.parametrize(('family', 'lost'), LOST)
def test_nothing_may_be_missing(tmp_path, family, lost):
    module, width, key = FAMILIES[family]
    weights = {name: tensor for name, tensor in module.make_weights().items() if name != lost}
    path = write(tmp_path / 'official.pth', weights, width, key)
    with pytest.raises(UserError, match=rf'does not fit {family}: missing {lost}'):
        load(module.make_model, path)


@pytest.mark.parametrize(
    ('kind', 'own', 'other'),
    [
        (MambaReg, 'small', 'base'),
        (MambaReg, 'base', 'large'),
        (MambaVision, 'tiny', 'tiny2'),
        (MambaVision, 'small', 'base'),
        (MambaVision, 'large2', 'large'),
    ],
)
def test_a_file_of_another_arch_is_named(kind, own, other):
    with torch.device('meta'):
        model, weights = kind(own), kind(other).state_dict()
    message = f"x.pth is of the {kind.__name__} with arch='{other}', and this one has arch='{own}'"
    with pytest.raises(UserError, match=message):
        kind.files.fit(model, weights, 'x.pth')
    kind.files.fit(model, model.state_dict(), 'x.pth')


@pytest.mark.parametrize('prefix', ['', 'module.', 'backbone.'])
@each_family
def test_mmengine_loads_official_names_into_a_classifier(tmp_path, family, prefix):
    module, width, key = FAMILIES[family]
    weights = module.make_weights(seed=5)
    path = write(tmp_path / 'official.pth', weights, width, key, prefix)
    head = dict(type='LinearClsHead', num_classes=10, in_channels=width)
    config = dict(type='ImageClassifier', backbone=dict(type=family, **module.SETTINGS), head=head)
    model, again = MODELS.build(config), MODELS.build(config)
    load_checkpoint(model, path)
    assert_holds(model.backbone, weights)
    stored = torch.load(path, weights_only=True)[key]
    assert torch.equal(model.head.fc.weight, stored[f'{prefix}head.weight'])
    torch.save(dict(state_dict=model.state_dict()), path)  # its own file, too
    load_checkpoint(again, path)
    assert_holds(again.backbone, weights)
