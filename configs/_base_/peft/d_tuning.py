about = dict(
    name='D-tuning',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='`D` trains',
    parameters=dict(vim_small=36_864),
    published=dict(
        vim_small=dict(
            thousands=45, natural=67.14, specialized=78.56, structured=40.1, average=58.16
        )
    ),
)
adapters = [dict(type='PartialTuning', patterns=['D', 'D_b'])]
