about = dict(
    name='AdaptFormer',
    source='Chen et al. 2022, section 3.2',
    formula='beside the MLP or, without one, the mixer: `s up(relu(down h + a)) + s b`, rank 8',
    parameters=dict(vim_small=156_864, vit_base=156_768),
    published_on_vit=72.32,
    merges=False,
)
adapters = [dict(type='AdaptFormer', rank=8, scale=0.1, drop_rate=0.1)]
