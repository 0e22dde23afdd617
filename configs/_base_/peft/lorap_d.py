about = dict(
    name='LoRAp(d)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='the rows of x_proj that make Δ: `W h + s up(down h)`, rank 64',
    parameters=dict(vim_small=2_433_024),
    published=dict(
        vim_small=dict(
            thousands=2442, natural=73.25, specialized=80.91, structured=50.93, average=65.46
        )
    ),
)
adapters = [dict(type='PartialLoRA', part='delta', rank=64, scale=0.1, drop_rate=0.1)]
