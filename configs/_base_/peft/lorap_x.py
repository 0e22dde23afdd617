about = dict(
    name='LoRAp(X)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='the rows of in_proj that make x: `W h + s up(down h)`, rank 64',
    parameters=dict(vim_small=1_769_472),
    published=dict(
        vim_small=dict(
            thousands=1778, natural=76.64, specialized=83.89, structured=60.84, average=71.52
        )
    ),
)
adapters = [dict(type='PartialLoRA', part='x', rank=64, scale=0.1, drop_rate=0.1)]
