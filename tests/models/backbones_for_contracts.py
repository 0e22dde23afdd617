"""Tiny backbones that every method is tried on: images of 32 x 32 pixels."""

from small_families import ARCHS, MODELS

SMALL_VISION = ARCHS['mamba_vision_tiny'] | dict(stem_dims=8)
SMALL_REG = ARCHS['mamba_reg_small'] | dict(num_registers=2)
#: By name, one a line.
BACKBONES = {
    'vim': dict(type='Vim', arch=ARCHS['vim_small'], img_size=32, patch_size=8),
    'vmamba_v2': dict(type='VMamba', arch=dict(embed_dims=8, depths=[1, 2]), img_size=32),
    'vmamba_v0': dict(type='VMamba', **MODELS['vmamba_v0_tiny']),
    'mamba_reg': dict(type='MambaReg', arch=SMALL_REG, img_size=32, patch_size=8),
    'mamba_vision': dict(type='MambaVision', arch=SMALL_VISION, img_size=32),
    'vit': dict(type='VisionTransformer', **MODELS['deit_small']),
    'swin': dict(type='SwinTransformer', **MODELS['swin_tiny']),
    'timm_vit': dict(type='TimmModel', model_name='test_vit', img_size=32),
}
#: Widths of their features, where these are not 16.
FEATURES = {'mamba_vision': 32, 'timm_vit': 64}
