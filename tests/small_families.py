"""A small architecture of each family, and published checkpoints that stand for the real ones."""

from dataclasses import replace

from memba_vision.zoo.official import OFFICIAL

_VIM = dict(embed_dims=16, num_layers=2, d_state=4)
_VISION = dict(embed_dims=4, stem_dims=3, depths=(1, 1, 3, 2), num_heads=(2, 4))
_VIT = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
#: By the name of a published architecture, which it is a small one of; for images of 224 pixels.
ARCHS = {
    'vim_small': _VIM,
    'vmamba_tiny_s1l8': dict(embed_dims=8, depths=(1, 2), ssm_ratio=1),
    'vmamba_v0_tiny': dict(embed_dims=8, depths=(1, 2), version='v0', d_state=2),
    'mamba_reg_small': dict(_VIM, num_registers=3, reduction=2),
    'mamba_vision_tiny': dict(_VISION, window_sizes=(2, 2)),
}
#: Settings of small models of every family, for images of 32 pixels.
MODELS = {
    **{name: dict(arch=arch, img_size=32) for name, arch in ARCHS.items()},
    'deit_small': dict(arch=_VIT, img_size=32, patch_size=8),
    'swin_tiny': dict(
        arch=dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2]),
        img_size=32,
        window_size=4,
        out_indices=(1,),
    ),
}


def small_officials(url: str) -> dict:
    """Published checkpoints of the small architectures, at addresses below ``url``."""
    return {
        name: replace(OFFICIAL[name], arch=arch, url=f'{url}/{name}.pth')
        for name, arch in ARCHS.items()
    }
