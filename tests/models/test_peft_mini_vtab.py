"""Every method on real input: an epoch of mini-VTAB's digits, from the shipped weights."""

import pytest
import torch
from helpers import DEMO
from mmengine.dataset import pseudo_collate
from mmengine.optim import LinearLR
from mmengine.registry import init_default_scope

from memba_vision.engine.optim import TrainableOptimWrapperConstructor
from memba_vision.registry import DATASETS, MODELS
from memba_vision.runs.config import load_config
from memba_vision.runs.presets import preset_names

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def digits():
    init_default_scope('mmpretrain')
    config = load_config(str(DEMO), {}, None)
    return DATASETS.build(config.train_dataloader.dataset)


@pytest.mark.parametrize('preset', preset_names())
def test_an_epoch_lowers_the_loss(digits, preset):
    torch.manual_seed(0)
    config = load_config(str(DEMO), {}, None, peft=preset)
    model = MODELS.build({**config.model, 'data_preprocessor': config.data_preprocessor})
    model.init_weights()
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    settings = {k: v for k, v in config.optim_wrapper.items() if k != 'constructor'}
    optimizer = TrainableOptimWrapperConstructor(settings)(model)
    warm_up = LinearLR(optimizer, start_factor=1e-3, end=64, by_epoch=False)  # two epochs, as there

    model.train()
    before = mean_loss(model, digits)
    for batch in batches(digits, torch.randperm(len(digits)).tolist()):
        model.train_step(batch, optimizer)
        warm_up.step()
    assert mean_loss(model, digits) < 0.99 * before

    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, start[n])}
    assert changed <= trains
    assert {'head.fc.weight', 'head.fc.bias'} <= changed


def batches(dataset, indices):
    """In batches of 32, as the data loader makes them."""
    for first in range(0, len(indices), 32):
        yield pseudo_collate([dataset[i] for i in indices[first : first + 32]])


@torch.no_grad()
def mean_loss(model, dataset):
    """The mean over the first 256 images as the training sees them, with the same dropout."""
    torch.manual_seed(1)
    losses = [
        model(**model.data_preprocessor(batch), mode='loss')['loss'].item()
        for batch in batches(dataset, range(256))
    ]
    return sum(losses) / len(losses)
