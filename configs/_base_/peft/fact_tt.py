about = dict(
    name='FacT-TT',
    source='Jie and Deng 2023, section "Factor-Tuning"',
    formula='projections of mixers and MLPs: `W h + s up(M down h)`, `up` and `down` shared by all '
    'layers, rank 16',
    parameters=dict(vim_small=49_152, vit_base=21_504),
)
adapters = [
    dict(type='FacT', form='tt', targets=['branch_proj'], rank=16, scale=1.0, drop_rate=0.1)
]
