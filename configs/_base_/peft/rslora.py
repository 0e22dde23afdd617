# LoRA's preset has alpha / rank = 0.1, so alpha = 6.4.
about = dict(
    name='rsLoRA',
    source='Kalajdzievski 2023, section 3',
    formula='in_proj, out_proj: `W h + s / √r up(down h)`, rank r = 64',
    parameters=dict(vim_small=4_718_592, vit_base=442_368),
)
adapters = [
    dict(
        type='LoRA',
        targets=['in_proj', 'out_proj'],
        rank=64,
        scale=6.4,
        drop_rate=0.1,
        rank_stabilized=True,
    )
]
