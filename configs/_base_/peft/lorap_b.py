about = dict(
    name='LoRAp(B)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='the rows of x_proj that make B: `W h + s up(down h)`, rank 64',
    parameters=dict(vim_small=2_408_448),
    published=dict(
        vim_small=dict(
            thousands=2417, natural=72.95, specialized=81.66, structured=52.26, average=66.07
        )
    ),
)
adapters = [dict(type='PartialLoRA', part='B', rank=64, scale=0.1, drop_rate=0.1)]
