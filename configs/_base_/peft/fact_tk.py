about = dict(
    name='FacT-TK',
    source='Jie and Deng 2023, section "Factor-Tuning"',
    formula='as FacT-TT, all `M` made from one core and a vector for each, rank 32',
    parameters=dict(vim_small=61_952, vit_base=13_952),
    published_on_vit=73.23,
)
adapters = [
    dict(type='FacT', form='tk', targets=['branch_proj'], rank=32, scale=1.0, drop_rate=0.1)
]
