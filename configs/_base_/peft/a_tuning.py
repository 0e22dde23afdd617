about = dict(
    name='A-tuning',
    source='MambaPEFT (Yoshimura et al. 2025)',
    formula='`A_log` trains',
    parameters=dict(vim_small=589_824),
    published=dict(
        vim_small=dict(
            thousands=598, natural=72.01, specialized=80.72, structured=49.59, average=64.4
        )
    ),
)
adapters = [dict(type='PartialTuning', patterns=['A_log', 'A_b_log'])]
