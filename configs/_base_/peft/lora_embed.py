about = dict(
    name='LoRA(embed)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='patch embedding: `W * h + s up(down * h)`, rank 32',
    parameters=dict(vim_small=36_864),
    published=dict(
        vim_small=dict(
            thousands=45, natural=64.66, specialized=77.53, structured=43.83, average=58.6
        )
    ),
)
adapters = [dict(type='LoRA', targets=['patch_embed.proj'], rank=32, scale=0.1, drop_rate=0.1)]
