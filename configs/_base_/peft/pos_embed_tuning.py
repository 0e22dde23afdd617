about = dict(
    name='Pos-embed-tuning',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='the position embedding trains',
    parameters=dict(vim_small=75_648),
    published=dict(
        vim_small=dict(
            thousands=84, natural=64.25, specialized=74.6, structured=39.77, average=56.12
        )
    ),
)
adapters = [dict(type='PartialTuning', patterns=['pos_embed'])]
