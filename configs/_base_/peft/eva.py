about = dict(
    name='EVA',
    source='Paischer et al. 2024, section 3',
    formula='in_proj, out_proj: `W h + s up(down h)`, from `down` = directions of most variance of '
    '`h`, rank 64 on average',
    parameters=dict(vim_small=4_718_592, vit_base=442_368),
    note='ranks chosen by the training images; more where wide layers get more',
)
adapters = [
    dict(type='EVA', targets=['in_proj', 'out_proj'], rank=64, scale=0.1, drop_rate=0.1, rho=2.0)
]
