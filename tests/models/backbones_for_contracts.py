"""Tiny backbones that every method is tried on, for images of 32 x 32 pixels."""

SMALL_VIM = dict(embed_dims=16, num_layers=2, d_state=4)
SMALL_V0 = dict(embed_dims=8, depths=[1, 2], version='v0', d_state=2)
#: By name, one a line.
BACKBONES = {
    'vim': dict(type='Vim', arch=SMALL_VIM, img_size=32, patch_size=8),
    'vmamba_v2': dict(type='VMamba', arch=dict(embed_dims=8, depths=[1, 2]), img_size=32),
    'vmamba_v0': dict(type='VMamba', arch=SMALL_V0, img_size=32),
}
