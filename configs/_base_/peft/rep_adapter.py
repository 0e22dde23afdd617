about = dict(
    name='RepAdapter',
    source='Luo et al. 2023, sections 3.2 and 3.3',
    formula='first projection of mixer and MLP: `W (h + s up(down h))`, `up` in two groups, rank 8',
    parameters=dict(vim_small=110_592, vit_base=239_808),
    published_on_vit=73.84,
)
adapters = [
    dict(type='RepAdapter', targets=['branch_in'], rank=8, groups=2, scale=1.0, drop_rate=0.1)
]
