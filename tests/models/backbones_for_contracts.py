"""A small backbone of each family but Vim, for tests of what adapters do on it."""

VIM = dict(embed_dims=16, num_layers=2, d_state=4, num_registers=3, reduction=2)
VISION = dict(embed_dims=4, stem_dims=3, depths=(1, 1, 3, 2), num_heads=(2, 4), window_sizes=(2, 2))

BACKBONES = {
    'MambaReg': dict(type='MambaReg', arch=VIM, img_size=32, patch_size=8),
    'MambaVision': dict(type='MambaVision', arch=VISION, img_size=64),
}
