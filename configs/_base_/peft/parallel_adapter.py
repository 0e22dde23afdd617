about = dict(
    name='ParallelAdapter',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='out_proj: `W h + s up(relu(down h))`, rank 24',
    parameters=dict(vim_small=663_552),
    published=dict(
        vim_small=dict(
            thousands=663, natural=76.1, specialized=83.97, structured=59.97, average=70.96
        )
    ),
    merges=False,
)
adapters = [dict(type='ParallelAdapter', targets=['out_proj'], rank=24, scale=0.1, drop_rate=0.1)]
