about = dict(
    name='Convpass',
    source='Jie and Deng 2022, section 3',
    formula='beside mixer and MLP: `s up(gelu(conv(gelu(down h))))`, '
    '`conv` 3 x 3 over the patches, rank 8',
    parameters=dict(vim_small=170_880, vit_base=327_552),
    published_on_vit=74.45,
    merges=False,
)
adapters = [dict(type='Convpass', rank=8, scale=1.0, drop_rate=0.1)]
