"""Tiny backbones that every method is tried on."""

SMALL_VIM = dict(embed_dims=16, num_layers=2, d_state=4)
SMALL_V0 = dict(embed_dims=8, depths=[1, 2], version='v0', d_state=2)
SMALL_REG = dict(embed_dims=16, num_layers=2, d_state=4, num_registers=3, reduction=2)
VISION = dict(embed_dims=4, stem_dims=3, depths=(1, 1, 3, 2), num_heads=(2, 4), window_sizes=(2, 2))
#: By name, one a line.
BACKBONES = {
    'vim': dict(type='Vim', arch=SMALL_VIM, img_size=32, patch_size=8),
    'vmamba_v2': dict(type='VMamba', arch=dict(embed_dims=8, depths=[1, 2]), img_size=32),
    'vmamba_v0': dict(type='VMamba', arch=SMALL_V0, img_size=32),
    'MambaReg': dict(type='MambaReg', arch=SMALL_REG, img_size=32, patch_size=8),
    'MambaVision': dict(type='MambaVision', arch=VISION, img_size=64),
}
