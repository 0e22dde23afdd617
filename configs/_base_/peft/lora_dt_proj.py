about = dict(
    name='LoRA(dt_proj)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='dt_proj: `W h + s up(down h)`, rank 64',
    parameters=dict(vim_small=2_433_024),
    published=dict(
        vim_small=dict(
            thousands=2442, natural=75.35, specialized=83.05, structured=57.12, average=69.3
        )
    ),
)
adapters = [dict(type='LoRA', targets=['dt_proj', 'dt_proj_b'], rank=64, scale=0.1, drop_rate=0.1)]
