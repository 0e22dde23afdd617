about = dict(
    name='LoRA(out_proj)',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='out_proj: `W h + s up(down h)`, rank 96',
    parameters=dict(vim_small=2_654_208),
    published=dict(
        vim_small=dict(
            thousands=2663, natural=76.42, specialized=83.96, structured=60.08, average=71.12
        )
    ),
)
adapters = [dict(type='LoRA', targets=['out_proj'], rank=96, scale=0.1, drop_rate=0.1)]
