"""Files of weights as the authors of a family save them, written and loaded."""

import torch


def write(path, weights, width, key, prefix=''):
    """Save weights under a key and behind a prefix, with a head on ``width`` features."""
    generator = torch.Generator().manual_seed(9)
    head = {'head.weight': torch.randn(10, width, generator=generator), 'head.bias': torch.ones(10)}
    named = {prefix + name: tensor for name, tensor in (weights | head).items()}
    torch.save({key: named, 'epoch': 3} if key else named, path)
    return str(path)


def load(make_model, path, **settings):
    """Return a backbone that loaded a file as its ``init_cfg`` says."""
    model = make_model(init_cfg=dict(type='Pretrained', checkpoint=path), **settings)
    model.init_weights()
    return model


def assert_holds(model, weights):
    """Assert that a backbone has these weights and no others, to the last bit."""
    own = model.state_dict()
    assert own.keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in own.items())
