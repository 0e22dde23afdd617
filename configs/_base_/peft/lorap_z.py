about = dict(
    name='LoRAp(Z)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='the rows of in_proj that make z: `W h + s up(down h)`, rank 64',
    parameters=dict(vim_small=1_769_472),
    published=dict(
        vim_small=dict(
            thousands=1778, natural=76.15, specialized=84.26, structured=59.72, average=70.94
        )
    ),
)
adapters = [dict(type='PartialLoRA', part='z', rank=64, scale=0.1, drop_rate=0.1)]
