about = dict(
    name='PiSSA',
    source='Meng et al. 2024, section 3',
    formula='in_proj, out_proj: `(W - s U D) h + s up(down h)`, from `up = U`, `down = D`, the '
    'largest singular values, rank 64',
    parameters=dict(vim_small=4_718_592, vit_base=442_368),
)
adapters = [
    dict(
        type='LoRA',
        targets=['in_proj', 'out_proj'],
        rank=64,
        scale=1.0,
        drop_rate=0.0,
        init='pissa',
    )
]
