about = dict(
    name='LoRA(x_proj)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='x_proj: `W h + s up(down h)`, rank 64',
    parameters=dict(vim_small=2_531_328),
    published=dict(
        vim_small=dict(
            thousands=2540, natural=74.41, specialized=81.92, structured=54.88, average=67.77
        )
    ),
)
adapters = [dict(type='LoRA', targets=['x_proj', 'x_proj_b'], rank=64, scale=0.1, drop_rate=0.1)]
