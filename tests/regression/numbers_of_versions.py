"""Small models with given weights, on which versions of this package have to agree."""

import zlib

import torch
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.runs.presets import read_preset

VIM = dict(type='Vim', arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)
FAMILY_SETTINGS = dict(rank=3, scale=1.0)


def given_values(name: str, like: torch.Tensor) -> torch.Tensor:
    """Values that depend on a parameter's name and shape alone."""
    phase = zlib.crc32(name.encode()) % 1000
    steps = torch.arange(like.numel(), dtype=torch.float64)
    return (0.3 * torch.sin(0.37 * steps + phase)).reshape(like.shape).to(like.dtype)


def fill(module: nn.Module) -> None:
    """Give every parameter that trains :func:`given_values`."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(given_values(name, parameter))


def make_base() -> nn.Module:
    """A Vim of 5,000 parameters."""
    base = MODELS.build(VIM)
    fill(base)
    return base.eval()


def make_adapted(preset: str) -> nn.Module:
    """A method's adapters, with their initial weights, on :func:`make_base`."""
    adapters = read_preset(preset, FAMILY_SETTINGS).adapters
    return MODELS.build(dict(type='PEFTModel', module=make_base(), adapters=adapters)).eval()


def make_images() -> torch.Tensor:
    """(2, 3, 32, 32) in float32."""
    return given_values('images', torch.empty(2, 3, 32, 32)) * 5


def features_and_gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    """Features of :func:`make_images`, and the gradients of their squares' sum by parameter."""
    (features,) = model(make_images())
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = {'features': features.detach()}
    if trained:
        loss = features.square().sum()
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        pairs = zip(trained, gradients, strict=True)
        # By their sums, since the names of parameters are not what versions agree on.
        norms = [g.double().square().sum() for _, g in pairs if g is not None]
        found['gradients'] = torch.stack(sorted(norms, key=float))
    return found
