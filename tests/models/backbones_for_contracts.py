"""Tiny backbones that every method is tried on: images of 32 x 32 pixels."""

SMALL_VIM = dict(embed_dims=16, num_layers=2, d_state=4)
SMALL_REG = SMALL_VIM | dict(num_registers=2, reduction=2)
SMALL_V0 = dict(embed_dims=8, depths=[1, 2], version='v0', d_state=2)
SMALL_VISION = dict(
    embed_dims=4, stem_dims=8, depths=(1, 1, 3, 2), num_heads=(2, 4), window_sizes=(2, 2)
)
SMALL_VIT = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
SMALL_SWIN = dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2])
#: By name, one a line.
BACKBONES = {
    'vim': dict(type='Vim', arch=SMALL_VIM, img_size=32, patch_size=8),
    'vmamba_v2': dict(type='VMamba', arch=dict(embed_dims=8, depths=[1, 2]), img_size=32),
    'vmamba_v0': dict(type='VMamba', arch=SMALL_V0, img_size=32),
    'mamba_reg': dict(type='MambaReg', arch=SMALL_REG, img_size=32, patch_size=8),
    'mamba_vision': dict(type='MambaVision', arch=SMALL_VISION, img_size=32),
    'vit': dict(type='VisionTransformer', arch=SMALL_VIT, img_size=32, patch_size=8),
    'swin': dict(type='SwinTransformer', arch=SMALL_SWIN, window_size=4, out_indices=(1,)),
    'timm_vit': dict(type='TimmModel', model_name='test_vit', img_size=32),
}
#: Widths of their features, where these are not 16.
FEATURES = {'mamba_vision': 32, 'timm_vit': 64}
